#include "text/split_pattern.h"

#include <array>
#include <cstdint>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "mpeft/core/error.h"
#include "mpeft/core/strings.h"

#include "text/code_points.h"

namespace mpeft::text {
namespace {

std::string message_of(int error) {
  std::array<PCRE2_UCHAR, 256> buffer{};
  pcre2_get_error_message(error, buffer.data(), buffer.size());
  return reinterpret_cast<const char*>(buffer.data());
}

}  // namespace

struct SplitPattern::Code {
  std::unique_ptr<pcre2_code, decltype(&pcre2_code_free)> code{nullptr, &pcre2_code_free};
  std::unique_ptr<pcre2_match_context, decltype(&pcre2_match_context_free)> context{nullptr, &pcre2_match_context_free};
};

SplitPattern::SplitPattern(const std::string& pattern, bool literal)
    : code_(std::make_unique<Code>()), pattern_(pattern) {
  int error = 0;
  PCRE2_SIZE offset = 0;
  const uint32_t options = PCRE2_UTF | (literal ? PCRE2_LITERAL : PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C);
  code_->code.reset(
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(), options, &error, &offset, nullptr));
  if (code_->code == nullptr) {
    throw DataError(
        str("the Split pattern '", pattern, "' does not compile: ", message_of(error), " at byte ", offset));
  }
  pcre2_jit_compile(code_->code.get(), PCRE2_JIT_COMPLETE);  // without the JIT the interpreter does it, slower
  code_->context.reset(pcre2_match_context_create(nullptr));
  if (code_->context == nullptr) throw std::bad_alloc();
  pcre2_set_match_limit(code_->context.get(), 10'000'000);
}

SplitPattern::~SplitPattern() = default;

void SplitPattern::split(std::string_view text, const std::function<void(std::string_view)>& piece) const {
  const std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)> match(
      pcre2_match_data_create_from_pattern(code_->code.get(), nullptr), &pcre2_match_data_free);
  if (match == nullptr) throw std::bad_alloc();
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  size_t done = 0;
  for (size_t from = 0; from < text.size();) {
    int rc = pcre2_match(code_->code.get(), subject, text.size(), from, PCRE2_NO_UTF_CHECK, match.get(),
                         code_->context.get());
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT) {  // the interpreter keeps its stack on the heap
      rc = pcre2_match(code_->code.get(), subject, text.size(), from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, match.get(),
                       code_->context.get());
    }
    if (rc == PCRE2_ERROR_NOMATCH) break;
    if (rc < 0)
      throw DataError(str("the tokenizer's Split pattern '", pattern_, "' failed on a text of ", text.size(),
                          " bytes: ", message_of(rc)));
    const PCRE2_SIZE* range = pcre2_get_ovector_pointer(match.get());
    const size_t begin = range[0], end = range[1];
    if (end <= begin) {  // an empty match, or \K behind the end: no piece, go on with the next character
      from = std::max(from, begin);
      if (from >= text.size()) break;
      from += code_point_at(text, from).length;
      continue;
    }
    if (begin < done) {  // \K in a lookbehind: nothing the reference has
      throw DataError(str("the tokenizer's Split pattern '", pattern_, "' has overlapping matches: not supported"));
    }
    if (done < begin) piece(text.substr(done, begin - done));
    piece(text.substr(begin, end - begin));
    done = end;
    from = end;
  }
  if (done < text.size()) piece(text.substr(done));
}

}  // namespace mpeft::text
