#pragma once

#include "metrics/punkt.h"

namespace mpeft::metrics {

/// True for the characters that Punkt takes for the end of a word: quotes, brackets, ;:*@?! (not the full stop).
bool is_punkt_delimiter(char32_t c);

/// The words of one line as Punkt cuts them: full stops stay with their words, other punctuation stands alone.
std::vector<TextView> punkt_words(TextView line);

/// Whether a possible boundary is one: `context` is the word with the stop, and what follows up to the end of the next
/// word.
bool contains_sentence_break(TextView context, const PunktParameters& parameters);

}  // namespace mpeft::metrics
