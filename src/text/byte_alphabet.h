#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace mpeft::text {

/// GPT-2's spelling of bytes as printable characters (its encoder.py, bytes_to_unicode): a byte that is a printable
/// Latin-1 character stands for itself, the others for U+0100, U+0101, ... in order of value. Vocabularies of
/// byte-level BPE are written in it: " the" is "Ġthe".
class ByteAlphabet {
 public:
  ByteAlphabet();

  /// The character of `byte`, as UTF-8.
  const std::string& spelling(uint8_t byte) const { return spellings_[byte]; }

  /// The bytes that the well-formed `token` spells; `token` itself when one of its characters spells no byte (as the
  /// ByteLevel decoder does with added tokens such as runs of spaces).
  std::string bytes_of(std::string_view token) const;

 private:
  std::array<std::string, 256> spellings_;
  std::array<int16_t, 0x144> bytes_;  // byte of a code point, -1 for none
};

}  // namespace mpeft::text
