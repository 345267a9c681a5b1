#include "metrics/word_tokenizer.h"

#include <iterator>
#include <mutex>

#include "mpeft/core/logging.h"

#include "metrics/treebank.h"

namespace mpeft::metrics {

WordTokenizer WordTokenizer::load() {
  const auto folder = find_punkt_folder();
  if (folder) return WordTokenizer(PunktSentenceSplitter(read_punkt_parameters(*folder)));
  static std::once_flag warned;
  std::call_once(warned, [] {
    log::warning(
        "NLTK's punkt_tab was not found: words are cut without sentence splitting, so METEOR can differ from NLTK's in "
        "the "
        "third digit. Set NLTK_DATA to a folder that has tokenizers/punkt_tab/english (nltk.download('punkt_tab')).");
  });
  return WordTokenizer(std::nullopt);
}

std::vector<Text> WordTokenizer::tokenize(std::string_view bytes) const {
  const Text text = decode_utf8(bytes);
  if (!sentences_) return tokenize_treebank(text);
  std::vector<Text> words;
  for (const TextView sentence : sentences_->split(text)) {
    std::vector<Text> more = tokenize_treebank(sentence);
    words.insert(words.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
  }
  return words;
}

}  // namespace mpeft::metrics
