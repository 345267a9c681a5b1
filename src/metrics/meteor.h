#pragma once

#include <functional>
#include <set>
#include <span>

#include "metrics/unicode.h"

namespace mpeft::metrics {

/// The synonyms of a word (UTF-8), itself not necessarily among them.
using Synonyms = std::function<const std::set<Text>&(const Text& word)>;

/// METEOR of lower-case words against one reference: Lavie and Agarwal, "METEOR: an automatic metric for MT evaluation
/// with high levels of correlation with human judgments" (2007), alpha 0.9, beta 3, gamma 0.5, as NLTK computes it. 0
/// when no word matches.
double meteor_of_words(std::span<const Text> prediction, std::span<const Text> reference, const Synonyms& synonyms);

}  // namespace mpeft::metrics
