#include <charconv>
#include <string_view>

#include "mpeft/core/error.h"
#include "mpeft/core/fs.h"
#include "mpeft/core/strings.h"

#include "metrics/nltk_data.h"
#include "metrics/punkt.h"

namespace mpeft::metrics {
namespace {

// The English files have 300 KB in all; a thousand times as much is no Punkt model.
constexpr uint64_t kLargestFile = uint64_t{256} << 20;

/// Calls visit(line number, line) for each line of a file, its line end removed.
template <typename Visit>
void visit_lines(const std::filesystem::path& path, Visit visit) {
  const std::string content = fs::read_file(path, kLargestFile);
  std::string_view rest = content;
  for (int64_t number = 1; !rest.empty(); ++number) {
    const size_t end = rest.find('\n');
    std::string_view line = rest.substr(0, end);
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
    if (line.ends_with('\r')) line.remove_suffix(1);
    visit(number, line);
  }
}

[[noreturn]] void reject(const std::filesystem::path& path, int64_t line, std::string_view expected) {
  throw DataError(str(path.string(), ":", line, ": expected ", expected,
                      "; install NLTK's punkt_tab again (nltk.download('punkt_tab'))"));
}

std::unordered_set<Text> read_set(const std::filesystem::path& path) {
  std::unordered_set<Text> entries;
  visit_lines(path, [&](int64_t, std::string_view line) { entries.insert(decode_utf8(line)); });
  return entries;
}

std::unordered_set<Text> read_pairs(const std::filesystem::path& path) {
  std::unordered_set<Text> entries;
  visit_lines(path, [&](int64_t number, std::string_view line) {
    if (line.find('\t') == std::string_view::npos) reject(path, number, "two words with a tab between");
    entries.insert(decode_utf8(line));
  });
  return entries;
}

std::unordered_map<Text, uint32_t> read_flags(const std::filesystem::path& path) {
  std::unordered_map<Text, uint32_t> entries;
  visit_lines(path, [&](int64_t number, std::string_view line) {
    const size_t tab = line.find('\t');
    if (tab == std::string_view::npos) reject(path, number, "a word, a tab and a number");
    uint32_t flags = 0;
    const char* end = line.data() + line.size();
    const auto [stopped, error] = std::from_chars(line.data() + tab + 1, end, flags);
    if (error != std::errc() || stopped != end) reject(path, number, "a word, a tab and a number");
    entries.insert_or_assign(decode_utf8(line.substr(0, tab)), flags);
  });
  return entries;
}

}  // namespace

PunktParameters read_punkt_parameters(const std::filesystem::path& folder) {
  PunktParameters parameters;
  parameters.abbreviations = read_set(folder / "abbrev_types.txt");
  parameters.collocations = read_pairs(folder / "collocations.tab");
  parameters.sentence_starters = read_set(folder / "sent_starters.txt");
  parameters.orthography = read_flags(folder / "ortho_context.tab");
  return parameters;
}

std::optional<std::filesystem::path> find_punkt_folder() {
  for (const auto& data : nltk_data_folders()) {
    const auto folder = data / "tokenizers" / "punkt_tab" / "english";
    std::error_code ignored;
    if (std::filesystem::is_regular_file(folder / "ortho_context.tab", ignored)) return folder;
  }
  return std::nullopt;
}

}  // namespace mpeft::metrics
