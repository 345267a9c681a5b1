#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace mpeft::text {

/// A `Split` pre-tokenizer with the behaviour Isolated: matches and what lies between them become pieces.
/// PCRE2 with its JIT, Unicode properties on; \p classes follow the Unicode version of the installed library.
class SplitPattern {
 public:
  /// `literal`: the pattern is plain text. Throws DataError when it does not compile.
  SplitPattern(const std::string& pattern, bool literal);
  ~SplitPattern();
  SplitPattern(const SplitPattern&) = delete;
  SplitPattern& operator=(const SplitPattern&) = delete;

  /// Calls `piece` with the pieces of the well-formed `text` in order, none of them empty. Throws DataError when the
  /// pattern needs more steps on this text than the limit.
  void split(std::string_view text, const std::function<void(std::string_view)>& piece) const;

 private:
  struct Code;
  std::unique_ptr<Code> code_;
  std::string pattern_;
};

}  // namespace mpeft::text
