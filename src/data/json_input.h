#pragma once

#include <set>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

namespace mpeft::data {

/// A JSON document from outside: at most 64 levels deep. Throws DataError "where: not JSON: …" (without the
/// place when `where` is empty). Members named in `unneeded`, at any depth, are checked but not kept.
nlohmann::json parse_json(std::string_view text, const std::string& where, const std::set<std::string>& unneeded = {});

/// The document of a file of at most 2 GiB. Throws DataError naming the file, also when it is empty.
nlohmann::json read_json_file(const std::string& path, const std::set<std::string>& unneeded = {});

}  // namespace mpeft::data
