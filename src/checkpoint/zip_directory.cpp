#include "checkpoint/zip_directory.h"

#include <algorithm>
#include <array>
#include <vector>

#include "checkpoint/messages.h"

namespace mpeft::checkpoint {
namespace {

// Structures of PKWARE's APPNOTE 6.3: signature and size of the fixed part.
constexpr uint32_t kLocalSignature = 0x04034b50;
constexpr uint32_t kCentralSignature = 0x02014b50;
constexpr uint32_t kEndSignature = 0x06054b50;
constexpr uint32_t kEnd64LocatorSignature = 0x07064b50;
constexpr uint32_t kEnd64Signature = 0x06064b50;
constexpr uint64_t kLocalBytes = 30;
constexpr uint64_t kCentralBytes = 46;
constexpr uint64_t kEndBytes = 22;
constexpr uint64_t kEnd64LocatorBytes = 20;
constexpr uint64_t kEnd64Bytes = 56;
constexpr uint64_t kLongestComment = 65535;
constexpr uint16_t kZip64Field = 0x0001;
constexpr uint16_t kEncrypted = 1;
constexpr uint32_t kIn64 = 0xffffffff;  // "see the zip64 field"

struct Directory {
  uint64_t begin;
  uint64_t size;
  uint64_t n_entries;
};

class ZipReader {
 public:
  ZipReader(std::string_view file, const std::string& path) : file_(file), path_(path) {}

  std::map<std::string, ZipEntry> read() {
    const Directory directory = find_directory();
    std::map<std::string, ZipEntry> entries;
    uint64_t at = directory.begin;
    const uint64_t end = directory.begin + directory.size;
    for (uint64_t i = 0; i < directory.n_entries; ++i) at = read_entry(at, end, directory.begin, entries);
    if (at != end) fail(path_, ": zip directory: ", end - at, " bytes after its last entry");
    check_overlap(entries);
    return entries;
  }

 private:
  template <typename T>
  T get(uint64_t at) const {
    T value = 0;
    for (size_t i = 0; i < sizeof(T); ++i) {
      value = static_cast<T>(value | static_cast<T>(static_cast<T>(static_cast<uint8_t>(file_[at + i])) << (8 * i)));
    }
    return value;
  }
  uint16_t u16(uint64_t at) const { return get<uint16_t>(at); }
  uint32_t u32(uint64_t at) const { return get<uint32_t>(at); }
  uint64_t u64(uint64_t at) const { return get<uint64_t>(at); }

  uint64_t find_end() const {
    if (file_.size() >= kEndBytes) {
      const uint64_t last = file_.size() - kEndBytes;
      const uint64_t first = last > kLongestComment ? last - kLongestComment : 0;
      for (uint64_t at = last + 1; at-- > first;) {
        if (u32(at) == kEndSignature && u16(at + 20) == file_.size() - at - kEndBytes) return at;
      }
    }
    fail(path_, ": the zip archive has no directory at its end: it is truncated, fetch it again");
  }

  Directory find_directory() const {
    const uint64_t end = find_end();
    if (u16(end + 4) != 0 || u16(end + 6) != 0 || u16(end + 8) != u16(end + 10)) {
      fail(path_, ": zip archives in several parts are not supported");
    }
    Directory found{u32(end + 16), u32(end + 12), u16(end + 10)};
    uint64_t limit = end;
    if (end >= kEnd64LocatorBytes && u32(end - kEnd64LocatorBytes) == kEnd64LocatorSignature) {
      const uint64_t end64 = u64(end - kEnd64LocatorBytes + 8);
      if (end < kEnd64LocatorBytes + kEnd64Bytes || end64 > end - kEnd64LocatorBytes - kEnd64Bytes ||
          u32(end64) != kEnd64Signature) {
        fail(path_, ": zip64 directory record not found at byte ", end64, ": the file is corrupt");
      }
      found = {u64(end64 + 48), u64(end64 + 40), u64(end64 + 32)};
      limit = end64;
    }
    if (found.begin > limit || found.size > limit - found.begin) {
      fail(path_, ": zip directory claims bytes ", found.begin, " + ", found.size, " of a file of ", file_.size(),
           ": the file is corrupt");
    }
    if (found.n_entries > found.size / kCentralBytes) {
      fail(path_, ": zip directory of ", found.size, " bytes claims ", found.n_entries, " entries");
    }
    return found;
  }

  // Reads the entry at `at` of the directory that ends at `end`; returns where the next begins.
  uint64_t read_entry(uint64_t at, uint64_t end, uint64_t directory_begin,
                      std::map<std::string, ZipEntry>& entries) const {
    if (end - at < kCentralBytes || u32(at) != kCentralSignature) {
      fail(path_, ": zip directory is corrupt at byte ", at);
    }
    const uint64_t name_bytes = u16(at + 28);
    const uint64_t extra_bytes = u16(at + 30);
    const uint64_t variable = name_bytes + extra_bytes + u16(at + 32);
    if (variable > end - at - kCentralBytes) fail(path_, ": zip directory is corrupt at byte ", at);
    const std::string name(file_.substr(at + kCentralBytes, name_bytes));
    const std::string where = str(path_, ": zip entry ", quote(name), ": ");
    if ((u16(at + 8) & kEncrypted) != 0) fail(where, "encrypted entries are not supported");
    const uint16_t method = u16(at + 10);

    uint64_t packed = u32(at + 20);
    uint64_t size = u32(at + 24);
    uint64_t local = u32(at + 42);
    read_zip64_field(at + kCentralBytes + name_bytes, extra_bytes, {&size, &packed, &local}, where);
    if (method == 0 && packed != size) fail(where, "stored in ", packed, " bytes but ", size, " bytes long");
    const uint64_t begin = find_data(local, name, method, directory_begin, where);
    if (packed > directory_begin - begin) {
      fail(where, packed, " bytes at byte ", begin, " reach into the directory at byte ", directory_begin);
    }
    if (!entries.emplace(name, ZipEntry{begin, packed, u32(at + 16), method}).second) fail(where, "appears twice");
    return at + kCentralBytes + variable;
  }

  // Replaces the values that read kIn64 by those of the zip64 extra field.
  void read_zip64_field(uint64_t at, uint64_t bytes, std::array<uint64_t*, 3> values, const std::string& where) const {
    const auto is_in_64 = [](const uint64_t* value) { return *value == kIn64; };
    if (std::none_of(values.begin(), values.end(), is_in_64)) return;
    for (const uint64_t end = at + bytes; end - at >= 4;) {
      const uint64_t field_bytes = u16(at + 2);
      if (field_bytes > end - at - 4) break;
      if (u16(at) == kZip64Field) {
        uint64_t from = at + 4;
        const uint64_t field_end = from + field_bytes;
        for (uint64_t* value : values) {
          if (!is_in_64(value)) continue;
          if (field_end - from < 8) fail(where, "its zip64 field is too short");
          *value = u64(from);
          from += 8;
        }
        return;
      }
      at += 4 + field_bytes;
    }
    fail(where, "its zip64 field is missing");
  }

  // First byte of the data behind the local header at `local`.
  uint64_t find_data(uint64_t local, const std::string& name, uint16_t method, uint64_t limit,
                     const std::string& where) const {
    if (local > limit || limit - local < kLocalBytes || u32(local) != kLocalSignature) {
      fail(where, "no local header at byte ", local);
    }
    const uint64_t variable = uint64_t{u16(local + 26)} + u16(local + 28);
    if (variable > limit - local - kLocalBytes)
      fail(where, "its local header at byte ", local, " runs into the directory");
    if (u16(local + 8) != method) {
      fail(where, "compression ", method, " in the directory but ", u16(local + 8), " in its local header");
    }
    if (file_.substr(local + kLocalBytes, u16(local + 26)) != name) {
      fail(where, "its local header at byte ", local, " has another name");
    }
    return local + kLocalBytes + variable;
  }

  // Entries that share bytes multiply a small file into a huge one.
  void check_overlap(const std::map<std::string, ZipEntry>& entries) const {
    std::vector<std::pair<ZipEntry, const std::string*>> sorted;
    for (const auto& [name, entry] : entries) sorted.emplace_back(entry, &name);
    std::sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) { return a.first.begin < b.first.begin; });
    for (size_t i = 1; i < sorted.size(); ++i) {
      const ZipEntry& before = sorted[i - 1].first;
      if (before.begin + before.size > sorted[i].first.begin) {
        fail(path_, ": zip entries ", quote(*sorted[i - 1].second), " and ", quote(*sorted[i].second), " overlap");
      }
    }
  }

  std::string_view file_;
  const std::string& path_;
};

}  // namespace

std::map<std::string, ZipEntry> read_zip_directory(std::string_view file, const std::string& path) {
  return ZipReader(file, path).read();
}

uint32_t crc32(std::string_view bytes) {
  static const std::array<uint32_t, 256> table = [] {
    std::array<uint32_t, 256> result{};
    for (uint32_t i = 0; i < 256; ++i) {
      uint32_t c = i;
      for (int bit = 0; bit < 8; ++bit) c = (c >> 1) ^ ((c & 1) != 0 ? 0xedb88320U : 0U);
      result[i] = c;
    }
    return result;
  }();
  uint32_t c = 0xffffffffU;
  for (const char byte : bytes) c = table[(c ^ static_cast<uint8_t>(byte)) & 0xff] ^ (c >> 8);
  return ~c;
}

}  // namespace mpeft::checkpoint
