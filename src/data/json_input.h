#pragma once

#include <set>
#include <string>

#include <nlohmann/json.hpp>

namespace mpeft::data {

/// The document of a file of at most 2 GiB. Throws DataError naming the file, and the place of what is no JSON, also
/// when it is empty. Members named in `unneeded`, at any depth, are checked but not kept.
nlohmann::json read_json_file(const std::string& path, const std::set<std::string>& unneeded = {});

}  // namespace mpeft::data
