#pragma once

#include <filesystem>

namespace mpeft::checkpoint {

/// Writes `files.json` into `folder`: size and SHA-256 of every file below it.
void write_file_manifest(const std::filesystem::path& folder);

/// Compares the files of `folder` with its `files.json`. Throws CheckpointError naming the first that differs.
void verify_file_manifest(const std::filesystem::path& folder);

}  // namespace mpeft::checkpoint
