#include "text/code_points.h"

#include <cstring>
#include <memory>

namespace mpeft::text {
namespace {

struct ClassRange {
  uint32_t first, last;
  uint8_t bits;
};

constexpr ClassRange kRanges[] = {
#include "text/unicode_ranges.inc"
};

std::unique_ptr<const uint8_t[]> expand_ranges() {
  auto classes = std::make_unique<uint8_t[]>(kCodePoints);  // zeros
  for (const auto& range : kRanges) std::memset(&classes[range.first], range.bits, range.last - range.first + 1);
  return classes;
}

}  // namespace

const uint8_t* code_point_classes() {
  // A flat megabyte: one load a character, and real texts touch a few of its pages only.
  static const std::unique_ptr<const uint8_t[]> kClasses = expand_ranges();
  return kClasses.get();
}

bool is_ascii(std::string_view text) {
  constexpr uint64_t kHighBits = 0x8080808080808080;
  uint64_t seen = 0;
  size_t i = 0;
  for (; i + 8 <= text.size(); i += 8) {
    uint64_t word;
    std::memcpy(&word, text.data() + i, 8);
    seen |= word;
  }
  for (; i < text.size(); ++i) seen |= static_cast<unsigned char>(text[i]);
  return (seen & kHighBits) == 0;
}

}  // namespace mpeft::text
