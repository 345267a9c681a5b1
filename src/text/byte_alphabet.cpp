#include "text/byte_alphabet.h"

#include "text/code_points.h"

namespace mpeft::text {

ByteAlphabet::ByteAlphabet() {
  bytes_.fill(-1);
  uint32_t next = 0x100;
  for (uint32_t byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
    const uint32_t code_point = printable ? byte : next++;
    append_code_point(spellings_[byte], code_point);
    bytes_[code_point] = static_cast<int16_t>(byte);
  }
}

std::string ByteAlphabet::bytes_of(std::string_view token) const {
  std::string out;
  for (size_t i = 0; i < token.size();) {
    const CodePoint c = code_point_at(token, i);
    if (c.value >= bytes_.size() || bytes_[c.value] < 0) return std::string(token);
    out.push_back(static_cast<char>(bytes_[c.value]));
    i += c.length;
  }
  return out;
}

}  // namespace mpeft::text
