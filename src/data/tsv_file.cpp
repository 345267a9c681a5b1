#include "data/tsv_file.h"

#include <algorithm>

#include "mpeft/core/error.h"
#include "mpeft/core/strings.h"

namespace mpeft::data {
namespace {

void split_fields(std::string_view line, std::vector<std::string_view>& fields) {
  fields.clear();
  for (size_t begin = 0;;) {
    const size_t end = line.find('\t', begin);
    fields.push_back(line.substr(begin, end - begin));
    if (end == std::string_view::npos) return;
    begin = end + 1;
  }
}

}  // namespace

TsvFile::TsvFile(const std::string& path, std::vector<std::string> columns)
    : path_(path), file_(path), rest_(file_.view()), columns_(std::move(columns)) {
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
  if (rest_.starts_with(kByteOrderMark)) rest_.remove_prefix(kByteOrderMark.size());
  if (!columns_.empty()) return;
  std::vector<std::string_view> names;
  if (!next(names)) throw DataError(path_ + ": is empty; expected a first line that names the columns");
  for (const auto name : names) columns_.emplace_back(trim(name));
}

size_t TsvFile::column(const std::string& name) const {
  const auto found = std::find(columns_.begin(), columns_.end(), name);
  if (found == columns_.end()) {
    constexpr size_t kShown = 200;
    std::string there = to_valid_utf8(join(columns_, ", "));
    if (there.size() > kShown) there = to_valid_utf8(there.substr(0, kShown)) + "…";
    throw DataError(
        str(path_, ": no column '", name, "'", did_you_mean(name, columns_), "; the first line names: ", there));
  }
  return static_cast<size_t>(found - columns_.begin());
}

bool TsvFile::next_line(std::string_view& line) {
  if (rest_.empty()) return false;
  const size_t end = std::min(rest_.find('\n'), rest_.size());
  line = rest_.substr(0, end);
  rest_.remove_prefix(std::min(end + 1, rest_.size()));
  if (line.ends_with('\r')) line.remove_suffix(1);
  return true;
}

bool TsvFile::next(std::vector<std::string_view>& fields) {
  std::string_view line;
  do {
    if (!next_line(line)) return false;
  } while (line.empty());
  line_size_ = line.size();
  split_fields(line, fields);
  return true;
}

}  // namespace mpeft::data
