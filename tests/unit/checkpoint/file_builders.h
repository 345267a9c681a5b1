#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "checkpoint/zip_directory.h"

namespace mpeft::checkpoint {

template <typename T>
std::string little_endian_bytes(T value) {
  std::string out;
  for (size_t i = 0; i < sizeof(T); ++i) out += static_cast<char>(static_cast<uint64_t>(value) >> (8 * i) & 0xff);
  return out;
}

/// A safetensors file of a header text and data, right or wrong.
inline std::string safetensors_file(const std::string& header, const std::string& data = "") {
  return little_endian_bytes<uint64_t>(header.size()) + header + data;
}

/// A file for make_zip; what is not empty or set lies about it.
struct ZipInput {
  std::string name;
  std::string content;
  uint16_t method = 0;
  uint16_t flags = 0;
  uint64_t claimed_size = UINT64_MAX;
  uint64_t claimed_packed = UINT64_MAX;
  uint64_t claimed_offset = UINT64_MAX;
  uint32_t claimed_crc = 0;
};

/// A zip archive of stored entries. `zip64`: sizes and offsets in zip64 fields and records only, as for more than 4 GB.
inline std::string make_zip(const std::vector<ZipInput>& inputs, bool zip64 = false) {
  const auto u16 = [](uint64_t v) { return little_endian_bytes(static_cast<uint16_t>(v)); };
  const auto u32 = [](uint64_t v) { return little_endian_bytes(static_cast<uint32_t>(v)); };
  const auto u64 = [](uint64_t v) { return little_endian_bytes(v); };
  const auto or_else = [](uint64_t claimed, uint64_t real) { return claimed == UINT64_MAX ? real : claimed; };
  std::string out;
  std::string directory;
  for (const ZipInput& input : inputs) {
    const uint64_t offset = or_else(input.claimed_offset, out.size());
    const uint64_t size = or_else(input.claimed_size, input.content.size());
    const uint64_t packed = or_else(input.claimed_packed, size);
    const uint32_t crc = input.claimed_crc != 0 ? input.claimed_crc : crc32(input.content);
    const std::string sizes = zip64 ? u32(0xffffffff) + u32(0xffffffff) : u32(packed) + u32(size);
    const std::string extra = zip64 ? u16(1) + u16(24) + u64(size) + u64(packed) + u64(offset) : "";
    out += "PK\x03\x04" + u16(45) + u16(input.flags) + u16(input.method) + u32(0) + u32(crc) + sizes +
           u16(input.name.size()) + u16(0) + input.name + input.content;
    directory += "PK\x01\x02" + u16(45) + u16(45) + u16(input.flags) + u16(input.method) + u32(0) + u32(crc) + sizes +
                 u16(input.name.size()) + u16(extra.size()) + u16(0) + u16(0) + u16(0) + u32(0) +
                 u32(zip64 ? 0xffffffff : offset) + input.name + extra;
  }
  const uint64_t begin = out.size();
  out += directory;
  if (zip64) {
    const uint64_t end64 = out.size();
    out += "PK\x06\x06" + u64(44) + u16(45) + u16(45) + u32(0) + u32(0) + u64(inputs.size()) + u64(inputs.size()) +
           u64(directory.size()) + u64(begin);
    out += "PK\x06\x07" + u32(0) + u64(end64) + u32(1);
  }
  const uint64_t n = zip64 ? 0xffff : inputs.size();
  return out + "PK\x05\x06" + u16(0) + u16(0) + u16(n) + u16(n) + u32(zip64 ? 0xffffffff : directory.size()) +
         u32(zip64 ? 0xffffffff : begin) + u16(0);
}

/// Pieces of pickles, protocol 2.
namespace pickle {

inline std::string text(const std::string& s) { return "X" + little_endian_bytes(static_cast<uint32_t>(s.size())) + s; }
inline std::string integer(int64_t n) { return "\x8a\x08" + little_endian_bytes(n); }
inline std::string global(const std::string& module, const std::string& name) {
  return "c" + module + "\n" + name + "\n";
}
inline std::string tuple(const std::vector<int64_t>& numbers) {
  std::string out = "(";
  for (const int64_t n : numbers) out += integer(n);
  return out + "t";
}
inline std::string storage(const std::string& storage_class, const std::string& key, int64_t n) {
  return "(" + text("storage") + global("torch", storage_class) + text(key) + text("cpu") + integer(n) + "tQ";
}
inline std::string tensor(const std::string& storage_piece, int64_t offset, const std::string& sizes,
                          const std::string& strides) {
  return global("torch._utils", "_rebuild_tensor_v2") + "(" + storage_piece + integer(offset) + sizes + strides +
         "\x89" + global("collections", "OrderedDict") + ")RtR";
}
/// A dict of one entry.
inline std::string dict(const std::string& key, const std::string& value) { return "}" + text(key) + value + "s"; }
/// With PROTO and STOP.
inline std::string whole(const std::string& body) { return "\x80\x02" + body + "."; }

}  // namespace pickle

/// A torch archive of one pickle and float storages "0" of the given bytes.
inline std::string torch_file(const std::string& pickle_bytes, const std::string& storage = std::string(16, '\0')) {
  return make_zip({{"archive/data.pkl", pickle_bytes},
                   {"archive/byteorder", "little"},
                   {"archive/data/0", storage},
                   {"archive/version", "3\n"}});
}

}  // namespace mpeft::checkpoint
