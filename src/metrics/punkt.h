#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "metrics/unicode.h"

namespace mpeft::metrics {

/// What Punkt learnt from a corpus: NLTK's `tokenizers/punkt_tab/<language>` folder.
struct PunktParameters {
  std::unordered_set<Text> abbreviations;          ///< types without their full stop: "dr", "u.s"
  std::unordered_set<Text> collocations;           ///< "first\tsecond": a stop between these two ends no sentence
  std::unordered_set<Text> sentence_starters;      ///< types that often begin a sentence
  std::unordered_map<Text, uint32_t> orthography;  ///< Orthography flags of the contexts in which a type was seen
};

/// Reads the four files of a punkt_tab folder. Throws DataError naming the file and the line that cannot be read.
PunktParameters read_punkt_parameters(const std::filesystem::path& folder);

/// The folder of English Punkt parameters in the first NLTK data folder that has it (NLTK_DATA, then the usual places).
std::optional<std::filesystem::path> find_punkt_folder();

/// Sentence boundaries by Kiss and Strunk, "Unsupervised multilingual sentence boundary detection" (2006), exactly as
/// NLTK 3.10's PunktSentenceTokenizer with boundary realignment applies it.
class PunktSentenceSplitter {
 public:
  explicit PunktSentenceSplitter(PunktParameters parameters) : parameters_(std::move(parameters)) {}

  /// The sentences of `text`, views into it, without the white space between them.
  std::vector<TextView> split(TextView text) const;

 private:
  PunktParameters parameters_;
};

}  // namespace mpeft::metrics
