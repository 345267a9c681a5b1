#pragma once

#include "metrics/unicode.h"

namespace mpeft::metrics {

/// The stem of a lower-case word: Porter, "An algorithm for suffix stripping" (1980), with the extensions of NLTK's
/// PorterStemmer in its default mode (irregular forms; y -> i only after a consonant; "ies" and "ied" of short words;
/// BLI, ALLI, FULLI and LOGI rules; words of one or two characters unchanged). A character that is not a letter counts
/// as a consonant.
Text porter_stem(TextView lower_case_word);

}  // namespace mpeft::metrics
