#include "text/pre_tokenizer.h"

#include "text/code_points.h"

namespace mpeft::text {
namespace {

constexpr uint8_t kKind = kLetter | kNumber | kSpace;  // exactly one of them, or 0 for everything else

// End of the run of characters of one kind from `i` on.
size_t run_end(std::string_view text, size_t i, uint8_t kind, const uint8_t* classes) {
  while (i < text.size()) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const CodePoint c = byte < 0x80 ? CodePoint{byte, 1} : code_point_at(text, i);
    if ((classes[c.value] & kKind) != kind) break;
    i += c.length;
  }
  return i;
}

size_t contraction_length(std::string_view text, size_t i) {
  if (i + 1 >= text.size()) return 0;
  const char first = text[i + 1];
  if (first == 's' || first == 't' || first == 'm' || first == 'd') return 2;
  if (i + 2 >= text.size()) return 0;
  const char second = text[i + 2];
  const bool two =
      (first == 'r' && second == 'e') || (first == 'v' && second == 'e') || (first == 'l' && second == 'l');
  return two ? 3 : 0;
}

}  // namespace

size_t gpt2_word_end(std::string_view text, size_t begin, const uint8_t* classes) {
  if (text[begin] == '\'') {
    if (const size_t n = contraction_length(text, begin); n > 0) return begin + n;
  }
  CodePoint c = code_point_at(text, begin);
  uint8_t kind = classes[c.value] & kKind;
  if (kind != kSpace) return run_end(text, begin + c.length, kind, classes);
  if (c.value == ' ' && begin + 1 < text.size()) {
    const CodePoint next = code_point_at(text, begin + 1);
    kind = classes[next.value] & kKind;
    if (kind != kSpace) return run_end(text, begin + 1 + next.length, kind, classes);
  }
  const size_t end = run_end(text, begin + c.length, kSpace, classes);
  if (end == text.size()) return end;
  // \s+(?!\S) gives the last white space back to the word behind it; \s+ takes a single one that is no plain space.
  const size_t last = end - code_point_before(text, end).length;
  return last > begin ? last : end;
}

}  // namespace mpeft::text
