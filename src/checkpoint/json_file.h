#pragma once

#include <filesystem>
#include <string>

#include <nlohmann/json.hpp>

namespace mpeft::checkpoint {

/// Parses a JSON object; throws CheckpointError that begins with `name` when `text` is not one, repeats a key or nests
/// deeper than 64 levels.
nlohmann::json parse_json_object(const std::string& text, const std::string& name);

/// Whether it is a regular file; what cannot be looked at is none.
bool is_file(const std::filesystem::path& path);

/// Reads a text file of at most `max_bytes`. Throws CheckpointError naming the path.
std::string read_text(const std::filesystem::path& path, uint64_t max_bytes = uint64_t{64} << 20);

/// read_text and parse_json_object.
nlohmann::json read_json_object(const std::filesystem::path& path, uint64_t max_bytes = uint64_t{64} << 20);

}  // namespace mpeft::checkpoint
