#include <yaml-cpp/emitter.h>

#include "config/yaml_value.h"

namespace mpeft::config {
namespace {

void emit(YAML::Emitter& out, const YamlValue& value) {
  switch (value.kind) {
    case YamlValue::Kind::kNull:
      out << YAML::Null;
      break;
    case YamlValue::Kind::kScalar:
      // A quoted '4' is a text; written plainly it would come back as a number.
      if (value.quoted) out << YAML::DoubleQuoted;
      out << value.scalar;
      break;
    case YamlValue::Kind::kList:
      out << YAML::Flow << YAML::BeginSeq;
      for (const auto& item : value.items) emit(out, *item);
      out << YAML::EndSeq;
      break;
    case YamlValue::Kind::kMap:
      if (value.entries.empty()) out << YAML::Flow;
      out << YAML::BeginMap;
      for (const auto& [key, entry] : value.entries) {
        out << YAML::Key << key << YAML::Value;
        emit(out, *entry);
      }
      out << YAML::EndMap;
      break;
  }
}

}  // namespace

std::string emit_yaml(const YamlValue& value) {
  YAML::Emitter out;
  emit(out, value);
  return out.c_str();
}

}  // namespace mpeft::config
