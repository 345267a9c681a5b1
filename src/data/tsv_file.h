#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "mpeft/core/fs.h"

namespace mpeft::data {

/// A file of tab-separated values as GLUE publishes them: UTF-8 with or without a byte order mark, lines that end in
/// \n or \r\n (the last one perhaps in nothing), blank lines between rows. Quotes are plain characters.
class TsvFile {
 public:
  /// With no `columns` the first line names them. Throws DataError for a file that cannot be read or is empty.
  explicit TsvFile(const std::string& path, std::vector<std::string> columns = {});

  /// Position of a column. Throws DataError (path, the columns that there are) when it is absent.
  size_t column(const std::string& name) const;
  size_t n_columns() const { return columns_.size(); }

  /// The next row that is not blank, as views into the file; false at its end. A row may have more or fewer fields than
  /// there are columns.
  bool next(std::vector<std::string_view>& fields);
  /// Bytes of the line of that row.
  size_t line_size() const { return line_size_; }

 private:
  bool next_line(std::string_view& line);

  std::string path_;
  fs::MappedFile file_;
  std::string_view rest_;
  size_t line_size_ = 0;
  std::vector<std::string> columns_;
};

}  // namespace mpeft::data
