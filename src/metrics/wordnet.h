#pragma once

#include <array>
#include <filesystem>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "mpeft/core/fs.h"

namespace mpeft::metrics {

/// WordNet's database files (wndb(5WN)): index.*, data.* and *.exc of the four parts of speech. The index and data
/// files are mapped and searched in place; nothing is parsed before it is asked for.
class WordNet {
 public:
  /// Opens the files in `folder`. Throws DataError naming the file that is missing or not WordNet's.
  explicit WordNet(const std::filesystem::path& folder);

  /// The one-word lemmas of every sense of `word` (lower case) in every part of speech, capitals as in WordNet. The
  /// word is looked up as it is and in its base forms (morphy). Throws DataError naming the file and place that is
  /// corrupt.
  std::set<std::string> synonyms(const std::string& word) const;

  /// The forms of `word` that the index of a part of speech ("noun", "verb", "adj", "adv") has: itself and its base
  /// forms by the exception list or else by the rules of detachment. Throws std::logic_error for another name.
  std::vector<std::string> base_forms(const std::string& word, std::string_view part_of_speech) const;

 private:
  struct PartOfSpeech {
    PartOfSpeech(const std::filesystem::path& folder, std::string_view name);

    /// The line of `lemma` in the index, or "".
    std::string_view index_line(std::string_view lemma) const;
    std::vector<std::string> base_forms(const std::string& word) const;
    void add_lemmas(std::string_view index_line, std::set<std::string>& lemmas) const;
    void add_lemmas_at(uint64_t offset, std::set<std::string>& lemmas) const;
    [[noreturn]] void reject(std::string_view file, std::string_view where) const;

    std::string name;
    std::filesystem::path folder;
    fs::MappedFile index;
    fs::MappedFile data;
    std::unordered_map<std::string, std::vector<std::string>> exceptions;
  };

  std::array<PartOfSpeech, 4> parts_;
};

/// The folder with WordNet's files: WNSEARCHDIR, or else WNHOME/dict, where set; otherwise /usr/share/wordnet or
/// corpora/wordnet of an NLTK data folder. Throws DataError saying how to install WordNet.
std::filesystem::path find_wordnet_folder();

}  // namespace mpeft::metrics
