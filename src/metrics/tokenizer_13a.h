#pragma once

#include <string_view>
#include <vector>

#include "metrics/unicode.h"

namespace mpeft::metrics {

/// Tokens of mteval-v13a, the tokenizer of BLEU: sacreBLEU's Tokenizer13a as `evaluate` carries it. Entities for quote,
/// ampersand and angle brackets are resolved, ASCII punctuation stands alone, and full stops and commas stay only
/// between digits.
std::vector<Text> tokenize_13a(std::string_view text);

}  // namespace mpeft::metrics
