#include "train/event_file.h"

#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <fcntl.h>
#include <unistd.h>

#include "mpeft/core/error.h"
#include "mpeft/core/fs.h"
#include "mpeft/core/strings.h"

namespace mpeft::train {
namespace {

constexpr std::array<uint32_t, 256> kCrcTable = [] {
  std::array<uint32_t, 256> table{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82F63B78U : 0);
    table[byte] = crc;
  }
  return table;
}();

template <typename Unsigned>
std::string little_endian(Unsigned value) {
  std::string bytes;
  for (size_t i = 0; i < sizeof value; ++i) bytes += static_cast<char>(value >> (8 * i) & 0xFF);
  return bytes;
}

// The protocol-buffer wire format: a field is its number and type, then its value.
enum WireType : uint64_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

std::string varint(uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes += static_cast<char>((value & 0x7F) | 0x80);
  return bytes + static_cast<char>(value);
}

std::string key(uint64_t field, WireType type) { return varint(field << 3 | type); }
std::string field_bytes(uint64_t field, std::string_view bytes) {
  return key(field, kBytes) + varint(bytes.size()) + std::string(bytes);
}

// Event (tensorboard/compat/proto/event.proto): 1 wall_time, 2 step, 3 file_version, 5 summary.
std::string event_head(double wall_time, int64_t step) {
  return key(1, kFixed64) + little_endian(std::bit_cast<uint64_t>(wall_time)) + key(2, kVarint) +
         varint(static_cast<uint64_t>(step));
}

std::string host_name() {
  std::array<char, 256> name{};
  return ::gethostname(name.data(), name.size() - 1) == 0 && name[0] != '\0' ? name.data() : "localhost";
}

}  // namespace

uint32_t crc32c(std::string_view bytes) {
  uint32_t crc = 0xFFFFFFFFU;
  for (const char byte : bytes) crc = (crc >> 8) ^ kCrcTable[(crc ^ static_cast<unsigned char>(byte)) & 0xFF];
  return ~crc;
}

uint32_t masked_crc32c(std::string_view bytes) { return std::rotr(crc32c(bytes), 15) + 0xA282EAD8U; }

EventFile::EventFile(const std::filesystem::path& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) throw DataError(mpeft::str(folder.string(), ": cannot create the folder: ", error.message()));
  for (const auto& name : fs::list_folder(folder)) {
    if (name.starts_with("events.out.tfevents.")) std::filesystem::remove(folder / name);
  }
  const auto now = std::time(nullptr);
  path_ = folder / mpeft::str("events.out.tfevents.", now, ".", host_name(), ".", ::getpid());
  fd_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0644);
  if (fd_ < 0) throw DataError(mpeft::str(path_.string(), ": cannot be created: ", std::strerror(errno)));
  record(event_head(static_cast<double>(now), 0) + field_bytes(3, "brain.Event:2"));
}

EventFile::~EventFile() { ::close(fd_); }

void EventFile::scalars(int64_t step, double wall_time, const std::map<std::string, double>& values) {
  std::string summary;
  for (const auto& [tag, value] : values) {
    // Summary.Value: 1 tag, 2 simple_value.
    const std::string point =
        field_bytes(1, tag) + key(2, kFixed32) + little_endian(std::bit_cast<uint32_t>(static_cast<float>(value)));
    summary += field_bytes(1, point);
  }
  record(event_head(wall_time, step) + field_bytes(5, summary));
}

void EventFile::record(std::string_view data) {
  const std::string length = little_endian(uint64_t{data.size()});
  const std::string framed =
      length + little_endian(masked_crc32c(length)) + std::string(data) + little_endian(masked_crc32c(data));
  fs::write_all(fd_, framed.data(), framed.size(), path_);  // whole records: a reader follows while we write
}

}  // namespace mpeft::train
