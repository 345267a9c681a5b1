#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace mpeft::text {

/// What a tokenizer needs to know of a code point; bits of one byte.
enum CodePointClass : uint8_t {
  kLetter = 1,      ///< \p{L}
  kNumber = 2,      ///< \p{N}
  kSpace = 4,       ///< \s: Unicode's White_Space
  kWord = 8,        ///< \w, for added tokens that must stand as single words
  kNormalize = 16,  ///< a text with this character may differ from its NFC
  kOpaque = 32,     ///< NFC of the reference (Unicode 9) does not know it: a starter that never composes
};

/// The classes of all code points, kCodePoints bytes. They are a committed table (scripts/golden/text_unicode.py), not
/// utf8proc's or PCRE2's: those change with the Unicode version of the system, and ids must not.
const uint8_t* code_point_classes();

constexpr uint32_t kCodePoints = 0x110000;

struct CodePoint {
  uint32_t value;
  uint32_t length;  ///< bytes of its UTF-8
};

/// The code point that starts at `i`; `text` must be well-formed there.
inline CodePoint code_point_at(std::string_view text, size_t i) {
  const auto byte = [&](size_t k) { return static_cast<uint32_t>(static_cast<unsigned char>(text[i + k])); };
  const uint32_t lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  if (lead < 0xE0) return {(lead & 0x1F) << 6 | (byte(1) & 0x3F), 2};
  if (lead < 0xF0) return {(lead & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F), 3};
  return {(lead & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F), 4};
}

/// The code point that ends before `i` > 0.
inline CodePoint code_point_before(std::string_view text, size_t i) {
  size_t begin = i - 1;
  while (begin > 0 && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) --begin;
  return code_point_at(text, begin);
}

/// Appends the UTF-8 of `code_point`, a valid scalar value.
template <typename String>
void append_code_point(String& out, uint32_t code_point) {
  const auto put = [&](uint32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (code_point < 0x80) {
    put(code_point);
  } else if (code_point < 0x800) {
    put(0xC0 | code_point >> 6);
    put(0x80 | (code_point & 0x3F));
  } else if (code_point < 0x10000) {
    put(0xE0 | code_point >> 12);
    put(0x80 | (code_point >> 6 & 0x3F));
    put(0x80 | (code_point & 0x3F));
  } else {
    put(0xF0 | code_point >> 18);
    put(0x80 | (code_point >> 12 & 0x3F));
    put(0x80 | (code_point >> 6 & 0x3F));
    put(0x80 | (code_point & 0x3F));
  }
}

/// True when every byte is below 0x80.
bool is_ascii(std::string_view text);

}  // namespace mpeft::text
