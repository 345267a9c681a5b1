#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace mpeft::fs {

using Path = std::filesystem::path;

/// The whole file. Throws DataError naming the path when it cannot be read or is larger than `max_bytes`.
std::string read_file(const Path& path, uint64_t max_bytes = uint64_t{4} << 30);

/// Writes to a temporary name in the same folder, syncs, renames: a reader sees the old file or the new one, never a
/// part. Folders are created. Throws DataError naming the path and the reason.
void write_file_atomic(const Path& path, std::string_view content);

/// As write_file_atomic, the content written by `write` to the file descriptor it is given.
void write_file_atomic(const Path& path, const std::function<void(int fd)>& write);

/// Writes all of `data` to `fd`; throws DataError naming `path`.
void write_all(int fd, const void* data, uint64_t size, const Path& path);

/// Fills a folder at a temporary name beside `path`, syncs, renames it to `path` (an existing folder is replaced).
void write_folder_atomic(const Path& path, const std::function<void(const Path& temporary)>& fill);

/// A read-only memory map of a file. Throws DataError naming the path.
class MappedFile {
 public:
  explicit MappedFile(const Path& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  MappedFile& operator=(MappedFile&&) = delete;

  const uint8_t* data() const { return data_; }
  uint64_t size() const { return size_; }
  std::string_view view() const { return {reinterpret_cast<const char*>(data_), size_}; }

 private:
  const uint8_t* data_ = nullptr;
  uint64_t size_ = 0;
};

/// SHA-256 in hex of a file or of bytes (libcrypto, which uses the processor's SHA instructions).
std::string sha256_file(const Path& path);
std::string sha256(std::string_view bytes);

/// Names of the entries of a folder, sorted; empty when it does not exist.
std::vector<std::string> list_folder(const Path& path);

/// The folder of the running executable.
Path executable_folder();

}  // namespace mpeft::fs
