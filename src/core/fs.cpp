#include "mpeft/core/fs.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <memory>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

#include <openssl/evp.h>

#include "mpeft/core/error.h"
#include "mpeft/core/strings.h"

namespace mpeft::fs {
namespace {

[[noreturn]] void fail(const Path& path, const std::string& what, int error) {
  throw DataError(str(path.string(), ": ", what, ": ", std::strerror(error)));
}

// A file descriptor that closes itself.
class Descriptor {
 public:
  Descriptor(const Path& path, int flags, mode_t mode = 0) : fd_(::open(path.c_str(), flags | O_CLOEXEC, mode)) {
    if (fd_ < 0) fail(path, (flags & O_CREAT) != 0 ? "cannot be created" : "cannot be opened", errno);
  }
  ~Descriptor() { ::close(fd_); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

uint64_t checked_size(const Path& path, int fd) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) fail(path, "cannot be read", errno);
  if (!S_ISREG(status.st_mode)) throw DataError(path.string() + ": not a regular file");
  return static_cast<uint64_t>(status.st_size);
}

void sync_folder(const Path& folder) {
  // Best effort: some file systems refuse to sync a folder, and the data itself is already synced.
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd >= 0) {
    ::fsync(fd);
    ::close(fd);
  }
}

Path parent_of(const Path& path) { return path.has_parent_path() ? path.parent_path() : Path("."); }

Path temporary_beside(const Path& path) {
  return parent_of(path) / str(".", path.filename().string(), ".tmp-", ::getpid());
}

void make_folders(const Path& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) throw DataError(folder.string() + ": cannot create the folder: " + error.message());
}

}  // namespace

std::string read_file(const Path& path, uint64_t max_bytes) {
  const Descriptor file(path, O_RDONLY);
  const uint64_t size = checked_size(path, file.get());
  if (size > max_bytes) {
    throw DataError(
        str(path.string(), ": ", human_bytes(size), " is larger than the limit of ", human_bytes(max_bytes)));
  }
  std::string content(size, '\0');
  uint64_t done = 0;
  while (done < size) {
    const ssize_t n = ::read(file.get(), content.data() + done, size - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail(path, "cannot be read", errno);
    if (n == 0) break;
    done += static_cast<uint64_t>(n);
  }
  content.resize(done);
  return content;
}

void write_all(int fd, const void* data, uint64_t size, const Path& path) {
  const auto* bytes = static_cast<const char*>(data);
  while (size > 0) {
    const ssize_t n = ::write(fd, bytes, std::min<uint64_t>(size, 1U << 30));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail(path, "cannot be written", errno);
    bytes += n;
    size -= static_cast<uint64_t>(n);
  }
}

void write_file_atomic(const Path& path, std::string_view content) {
  write_file_atomic(path, [&](int fd) { write_all(fd, content.data(), content.size(), path); });
}

void write_file_atomic(const Path& path, const std::function<void(int fd)>& write) {
  make_folders(parent_of(path));
  const Path temporary = temporary_beside(path);
  try {
    {
      const Descriptor file(temporary, O_WRONLY | O_CREAT | O_TRUNC, 0644);
      write(file.get());
      if (::fsync(file.get()) != 0) fail(path, "cannot be synced", errno);
    }
    if (::rename(temporary.c_str(), path.c_str()) != 0) fail(path, "cannot be renamed into place", errno);
  } catch (...) {
    ::unlink(temporary.c_str());
    throw;
  }
  sync_folder(parent_of(path));
}

void write_folder_atomic(const Path& path, const std::function<void(const Path& temporary)>& fill) {
  make_folders(parent_of(path));
  const Path temporary = temporary_beside(path);
  const Path old = parent_of(path) / str(".", path.filename().string(), ".old-", ::getpid());
  std::error_code ignored;
  std::filesystem::remove_all(temporary, ignored);
  try {
    make_folders(temporary);
    fill(temporary);
    sync_folder(temporary);
    std::filesystem::remove_all(old, ignored);
    // Exchanged where the file system can: between two renames a crash would leave neither folder under the name.
    if (::renameat2(AT_FDCWD, temporary.c_str(), AT_FDCWD, path.c_str(), RENAME_EXCHANGE) == 0) {
      std::filesystem::remove_all(temporary, ignored);
    } else {
      if (std::filesystem::exists(path)) std::filesystem::rename(path, old);
      std::filesystem::rename(temporary, path);
    }
    std::filesystem::remove_all(old, ignored);
  } catch (const std::filesystem::filesystem_error& e) {
    std::filesystem::remove_all(temporary, ignored);
    throw DataError(path.string() + ": cannot be written: " + e.code().message());
  } catch (...) {
    std::filesystem::remove_all(temporary, ignored);
    throw;
  }
  sync_folder(parent_of(path));
}

MappedFile::MappedFile(const Path& path) {
  const Descriptor file(path, O_RDONLY);
  size_ = checked_size(path, file.get());
  if (size_ == 0) return;  // mmap refuses a length of 0
  void* address = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file.get(), 0);
  if (address == MAP_FAILED) fail(path, "cannot be mapped", errno);
  data_ = static_cast<const uint8_t*>(address);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<uint8_t*>(data_), size_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

namespace {

class Sha256 {
 public:
  Sha256() : context_(EVP_MD_CTX_new(), EVP_MD_CTX_free) { EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr); }
  void update(std::string_view bytes) { EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()); }
  std::string hex() {
    std::array<unsigned char, EVP_MAX_MD_SIZE> digest;
    unsigned size = 0;
    EVP_DigestFinal_ex(context_.get(), digest.data(), &size);
    constexpr std::string_view kDigits = "0123456789abcdef";
    std::string out;
    for (unsigned i = 0; i < size; ++i) {
      out += kDigits[digest[i] >> 4];
      out += kDigits[digest[i] & 15];
    }
    return out;
  }

 private:
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_;
};

}  // namespace

std::string sha256(std::string_view bytes) {
  Sha256 hash;
  hash.update(bytes);
  return hash.hex();
}

std::string sha256_file(const Path& path) {
  const MappedFile file(path);
  return sha256(file.view());
}

std::vector<std::string> list_folder(const Path& path) {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(path, error))
    names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

Path executable_folder() {
  std::error_code error;
  const Path path = std::filesystem::read_symlink("/proc/self/exe", error);
  return error ? Path(".") : path.parent_path();
}

}  // namespace mpeft::fs
