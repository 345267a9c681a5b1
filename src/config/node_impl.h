#pragma once

#include <memory>
#include <string>

#include "mpeft/config/node.h"

#include "config/yaml_value.h"

namespace mpeft::config {

struct Node::Impl {
  std::shared_ptr<YamlValue> value;  ///< null: not there
  Problems* problems = nullptr;
  std::shared_ptr<Problems> owned_problems;  ///< of a detached node, else null
  std::string parent_place;
  std::string key;
};

/// "a list", "a map", "null" or "'text'" for messages.
std::string describe(const YamlValue& value);

}  // namespace mpeft::config
