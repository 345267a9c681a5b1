#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "metrics/punkt.h"

namespace mpeft::metrics {

/// NLTK's word_tokenize: Punkt's sentences, each cut into Treebank words.
class WordTokenizer {
 public:
  /// With the English Punkt parameters where NLTK data has them; otherwise without sentence splitting, with a warning
  /// the first time.
  static WordTokenizer load();

  explicit WordTokenizer(std::optional<PunktSentenceSplitter> sentences) : sentences_(std::move(sentences)) {}

  std::vector<Text> tokenize(std::string_view text) const;

 private:
  std::optional<PunktSentenceSplitter> sentences_;
};

}  // namespace mpeft::metrics
