#pragma once

#include <vector>

#include "metrics/unicode.h"

namespace mpeft::metrics {

/// Words of one sentence by the Penn Treebank conventions as NLTK 3.10 extends them (NLTKWordTokenizer): quotes,
/// clitics
/// ("n't", "'s"), contractions ("can not", "gim me") and punctuation stand alone; the full stop only at the very end.
std::vector<Text> tokenize_treebank(TextView sentence);

}  // namespace mpeft::metrics
