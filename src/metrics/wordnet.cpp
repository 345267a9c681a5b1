#include "metrics/wordnet.h"

#include <charconv>
#include <cstdlib>
#include <optional>
#include <utility>

#include "mpeft/core/check.h"
#include "mpeft/core/error.h"
#include "mpeft/core/strings.h"

#include "metrics/nltk_data.h"

namespace mpeft::metrics {
namespace {

constexpr std::string_view kInstall =
    "install WordNet 3.0 (Debian, Ubuntu: apt-get install wordnet-base) or set WNSEARCHDIR to its dict folder";

using Detachment = std::pair<std::string_view, std::string_view>;  // a suffix and what takes its place

/// morphy(7WN)'s rules of detachment.
std::vector<Detachment> detachments(std::string_view part_of_speech) {
  if (part_of_speech == "noun") {
    return {{"s", ""},      {"ses", "s"},   {"ves", "f"},   {"xes", "x"}, {"zes", "z"},
            {"ches", "ch"}, {"shes", "sh"}, {"men", "man"}, {"ies", "y"}};
  }
  if (part_of_speech == "verb") {
    return {{"s", ""}, {"ies", "y"}, {"es", "e"}, {"es", ""}, {"ed", "e"}, {"ed", ""}, {"ing", "e"}, {"ing", ""}};
  }
  if (part_of_speech == "adj") return {{"er", ""}, {"est", ""}, {"er", "e"}, {"est", "e"}};
  return {};
}

/// Takes the next field, blanks apart, off the front of `line`; "" at its end.
std::string_view next_field(std::string_view& line) {
  const size_t begin = std::min(line.find_first_not_of(" \t\r"), line.size());
  const size_t end = std::min(line.find_first_of(" \t\r", begin), line.size());
  const std::string_view field = line.substr(begin, end - begin);
  line.remove_prefix(end);
  return field;
}

std::optional<uint64_t> parse_number(std::string_view field, int base) {
  uint64_t value = 0;
  const auto [stopped, error] = std::from_chars(field.data(), field.data() + field.size(), value, base);
  if (field.empty() || error != std::errc() || stopped != field.data() + field.size()) return std::nullopt;
  return value;
}

/// An adjective's syntactic marker, "(a)", "(p)" or "(ip)", is no part of it.
std::string_view without_marker(std::string_view lemma) {
  if (!lemma.ends_with(')')) return lemma;
  const size_t open = lemma.find_last_of("()", lemma.size() - 2);
  return open != std::string_view::npos && lemma[open] == '(' ? lemma.substr(0, open) : lemma;
}

std::unordered_map<std::string, std::vector<std::string>> read_exceptions(const std::filesystem::path& path) {
  std::unordered_map<std::string, std::vector<std::string>> exceptions;
  const std::string content = fs::read_file(path, uint64_t{64} << 20);
  for (std::string_view rest = content; !rest.empty();) {
    const size_t end = std::min(rest.find('\n'), rest.size());
    std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    const std::string_view form = next_field(line);
    if (form.empty()) continue;
    // Where a form has two lines the later one counts, as in NLTK.
    auto& bases = exceptions[std::string(form)];
    bases.clear();
    while (!line.empty()) {
      if (const std::string_view base = next_field(line); !base.empty()) bases.emplace_back(base);
    }
  }
  return exceptions;
}

std::filesystem::path existing(const std::filesystem::path& path) {
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(path, ignored))
    throw DataError(str(path.string(), ": no such file; ", kInstall));
  return path;
}

bool has_wordnet(const std::filesystem::path& folder) {
  std::error_code ignored;
  return std::filesystem::is_regular_file(folder / "index.noun", ignored);
}

}  // namespace

WordNet::PartOfSpeech::PartOfSpeech(const std::filesystem::path& where, std::string_view part)
    : name(part),
      folder(where),
      index(existing(where / ("index." + name))),
      data(existing(where / ("data." + name))),
      exceptions(read_exceptions(existing(where / (name + ".exc")))) {}

void WordNet::PartOfSpeech::reject(std::string_view file, std::string_view where) const {
  throw DataError(str((folder / str(file, ".", name)).string(), ": ", where, ": not WordNet's format; ", kInstall));
}

std::string_view WordNet::PartOfSpeech::index_line(std::string_view lemma) const {
  const std::string_view file = index.view();
  // The lines are sorted by their first field; the licence lines before them begin with blanks, which sort first.
  size_t low = 0;
  size_t high = file.size();
  while (low < high) {
    const size_t middle = low + (high - low) / 2;
    // The line that `middle` lies in, within [low, high).
    const size_t before = middle == 0 ? std::string_view::npos : file.rfind('\n', middle - 1);
    const size_t begin = before == std::string_view::npos ? 0 : before + 1;
    const size_t end = std::min(file.find('\n', middle), file.size());
    const std::string_view line = file.substr(begin, end - begin);
    const std::string_view key = line.substr(0, line.find(' '));
    if (key == lemma) return line;
    if (key < lemma) {
      low = end + 1;
    } else {
      high = begin;
    }
  }
  return {};
}

std::vector<std::string> WordNet::PartOfSpeech::base_forms(const std::string& word) const {
  std::vector<std::string> candidates = {word};
  if (const auto found = exceptions.find(word); found != exceptions.end()) {
    candidates.insert(candidates.end(), found->second.begin(), found->second.end());
  } else {
    for (const auto& [suffix, replacement] : detachments(name)) {
      if (word.ends_with(suffix)) candidates.push_back(word.substr(0, word.size() - suffix.size()).append(replacement));
    }
  }
  std::vector<std::string> forms;
  for (const std::string& form : candidates) {
    if (!form.empty() && !index_line(form).empty()) forms.push_back(form);
  }
  return forms;
}

void WordNet::PartOfSpeech::add_lemmas(std::string_view line, std::set<std::string>& lemmas) const {
  // lemma pos synset_cnt p_cnt [ptr_symbol...] sense_cnt tagsense_cnt synset_offset [synset_offset...]
  const std::string lemma(next_field(line));
  next_field(line);
  const auto synsets = parse_number(next_field(line), 10);
  const auto pointers = parse_number(next_field(line), 10);
  if (!synsets || !pointers || *synsets > line.size() || *pointers > line.size()) reject("index", lemma);
  for (uint64_t i = 0; i < *pointers + 2; ++i) next_field(line);
  for (uint64_t i = 0; i < *synsets; ++i) {
    const auto offset = parse_number(next_field(line), 10);
    if (!offset) reject("index", lemma);
    add_lemmas_at(*offset, lemmas);
  }
}

void WordNet::PartOfSpeech::add_lemmas_at(uint64_t offset, std::set<std::string>& lemmas) const {
  const auto where = [&] { return str("byte ", offset); };
  if (offset >= data.size()) reject("data", where());
  std::string_view line = data.view().substr(offset);
  line = line.substr(0, line.find('\n'));
  // synset_offset lex_filenum ss_type w_cnt word lex_id [word lex_id...]
  if (parse_number(next_field(line), 10) != offset) reject("data", where());
  next_field(line);
  next_field(line);
  const auto words = parse_number(next_field(line), 16);
  if (!words || *words > line.size()) reject("data", where());
  for (uint64_t i = 0; i < *words; ++i) {
    const std::string_view lemma = without_marker(next_field(line));
    next_field(line);
    if (lemma.empty()) reject("data", where());
    if (lemma.find('_') == std::string_view::npos) lemmas.emplace(lemma);
  }
}

WordNet::WordNet(const std::filesystem::path& folder)
    : parts_{PartOfSpeech(folder, "noun"), PartOfSpeech(folder, "verb"), PartOfSpeech(folder, "adj"),
             PartOfSpeech(folder, "adv")} {}

std::set<std::string> WordNet::synonyms(const std::string& word) const {
  std::set<std::string> lemmas;
  for (const PartOfSpeech& part : parts_) {
    for (const std::string& form : part.base_forms(word)) part.add_lemmas(part.index_line(form), lemmas);
  }
  return lemmas;
}

std::vector<std::string> WordNet::base_forms(const std::string& word, std::string_view part_of_speech) const {
  for (const PartOfSpeech& part : parts_) {
    if (part.name == part_of_speech) return part.base_forms(word);
  }
  MPEFT_ASSERT(false, "unknown part of speech ", part_of_speech);
  return {};
}

std::filesystem::path find_wordnet_folder() {
  // A folder that somebody named is the one they meant: no other takes its place when it is wrong.
  if (const char* folder = std::getenv("WNSEARCHDIR"); folder != nullptr && *folder != '\0') {
    if (has_wordnet(folder)) return folder;
    throw DataError(str("WNSEARCHDIR=", folder, ": no WordNet files there (index.noun); ", kInstall));
  }
  if (const char* home = std::getenv("WNHOME"); home != nullptr && *home != '\0') {
    const auto folder = std::filesystem::path(home) / "dict";
    if (has_wordnet(folder)) return folder;
    throw DataError(str("WNHOME=", home, ": no WordNet files in its dict folder (index.noun); ", kInstall));
  }
  std::vector<std::filesystem::path> folders = {"/usr/share/wordnet"};
  for (const auto& data : nltk_data_folders()) folders.push_back(data / "corpora" / "wordnet");
  for (const auto& folder : folders) {
    if (has_wordnet(folder)) return folder;
  }
  throw DataError(
      str("METEOR needs WordNet, which is neither in /usr/share/wordnet nor in an NLTK data folder; ", kInstall));
}

}  // namespace mpeft::metrics
