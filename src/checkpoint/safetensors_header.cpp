#include "checkpoint/safetensors_header.h"

#include <algorithm>

#include <nlohmann/json.hpp>

#include "checkpoint/dtypes.h"
#include "checkpoint/mapped_tensor.h"
#include "checkpoint/messages.h"
#include "checkpoint/safetensors_json.h"

namespace mpeft::checkpoint {
namespace {

constexpr uint64_t kLengthBytes = 8;
constexpr uint64_t kLargestHeader = 100'000'000;  // the limit of the safetensors package

uint64_t little_endian(std::string_view bytes) {
  uint64_t value = 0;
  for (size_t i = 0; i < kLengthBytes; ++i) value |= uint64_t{static_cast<uint8_t>(bytes[i])} << (8 * i);
  return value;
}

void check_tensor(const TensorEntry& entry, uint64_t data_size, const std::string& where) {
  if (entry.begin > entry.end) fail(where, "data_offsets [", entry.begin, ", ", entry.end, "] run backwards");
  if (entry.end > data_size) {
    fail(where, "data ends at byte ", entry.end, " but the file holds ", data_size,
         " bytes of data: it is truncated or corrupt, fetch it again");
  }
  const auto bytes = bytes_of(entry.shape, entry.dtype);
  if (!bytes) fail(where, "shape ", shape_text(entry.shape), " is too large");
  if (*bytes != entry.end - entry.begin) {
    fail(where, "shape ", shape_text(entry.shape), " of ", *safetensors_name_of(entry.dtype), " takes ", *bytes,
         " bytes but data_offsets give ", entry.end - entry.begin);
  }
}

}  // namespace

SafetensorsHeader parse_safetensors_header(std::string_view file, const std::string& path) {
  if (file.size() < kLengthBytes) {
    fail(path, ": ", file.size(), " bytes are too few for a safetensors file.", guess_what_it_is(file));
  }
  const uint64_t length = little_endian(file);
  const uint64_t rest = file.size() - kLengthBytes;
  if (length > kLargestHeader || length > rest) {
    fail(path, ": the header claims ", length, " bytes of ", rest, " (limit ", kLargestHeader,
         "): not a safetensors file, or a truncated one.", guess_what_it_is(file));
  }
  SafetensorsHeader header = parse_safetensors_json(file.substr(kLengthBytes, length), path);
  header.data_begin = kLengthBytes + length;
  const uint64_t data_size = rest - length;

  const auto where = [&](const TensorEntry& entry) { return str(path, ": tensor ", quote(entry.name), ": "); };
  for (const TensorEntry& entry : header.tensors) check_tensor(entry, data_size, where(entry));
  std::sort(header.tensors.begin(), header.tensors.end(), [](const TensorEntry& a, const TensorEntry& b) {
    return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
  });
  uint64_t covered = 0;
  const TensorEntry* last = nullptr;
  for (const TensorEntry& entry : header.tensors) {
    if (entry.begin < covered) fail(where(entry), "its data overlap those of tensor ", quote(last->name));
    if (entry.begin > covered) fail(where(entry), entry.begin - covered, " bytes before it belong to no tensor");
    covered = entry.end;
    last = &entry;
  }
  if (covered != data_size) fail(path, ": ", data_size - covered, " bytes after the last tensor belong to no tensor");
  return header;
}

std::string format_safetensors_header(const std::vector<TensorEntry>& tensors,
                                      const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json json = nlohmann::ordered_json::object();
  if (!metadata.empty()) json["__metadata__"] = metadata;
  // Built as text where there may be thousands of entries: ordered_json looks for each new key among all before it.
  std::string text = json.dump();
  text.pop_back();
  for (const TensorEntry& entry : tensors) {
    const nlohmann::ordered_json value = {{"dtype", *safetensors_name_of(entry.dtype)},
                                          {"shape", entry.shape},
                                          {"data_offsets", {entry.begin, entry.end}}};
    if (text.size() > 1) text += ',';
    text += nlohmann::json(entry.name).dump() + ':' + value.dump();
  }
  text += '}';
  text.append((8 - text.size() % 8) % 8, ' ');
  std::string out;
  for (size_t i = 0; i < kLengthBytes; ++i) out += static_cast<char>(text.size() >> (8 * i) & 0xff);
  return out + text;
}

}  // namespace mpeft::checkpoint
