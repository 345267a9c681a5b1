#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace mpeft::checkpoint {

/// One file of a zip archive.
struct ZipEntry {
  uint64_t begin;   ///< of its bytes, from the start of the archive
  uint64_t size;    ///< of its bytes in the archive
  uint32_t crc;     ///< CRC-32, 0 when the writer did not compute it
  uint16_t method;  ///< 0: stored as it is
};

/// Reads the directory of a zip archive (zip64 included). Encrypted, multi-disk, repeated and
/// overlapping entries are refused, and every offset is checked. Throws CheckpointError naming
/// `path`.
std::map<std::string, ZipEntry> read_zip_directory(std::string_view file, const std::string& path);

/// CRC-32 of zip (polynomial 0xEDB88320).
uint32_t crc32(std::string_view bytes);

}  // namespace mpeft::checkpoint
