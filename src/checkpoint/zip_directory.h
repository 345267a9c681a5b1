#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace mpeft::checkpoint {

/// One stored (uncompressed) file of a zip archive.
struct ZipEntry {
  uint64_t begin;  ///< of its bytes, from the start of the archive
  uint64_t size;
  uint32_t crc;  ///< CRC-32, 0 when the writer did not compute it
};

/// Reads the directory of a zip archive (zip64 included). What torch.save never writes is refused: compressed,
/// encrypted, multi-disk, repeated or overlapping entries. Every offset is checked. Throws CheckpointError naming
/// `path`.
std::map<std::string, ZipEntry> read_zip_directory(std::string_view file, const std::string& path);

/// CRC-32 of zip (polynomial 0xEDB88320).
uint32_t crc32(std::string_view bytes);

}  // namespace mpeft::checkpoint
