#pragma once

#include <cstdint>
#include <string>

namespace mpeft::data {

/// A record's texts, or its line, may be this long; more is a damaged file and not an example.
constexpr size_t kMaxRecordBytes = size_t{64} << 20;

/// Malformed records of one file: throws at the first, or tolerates and counts as many as the user allowed.
class RecordErrors {
 public:
  RecordErrors(std::string path, int64_t n_allowed) : path_(std::move(path)), n_allowed_(n_allowed) {}
  /// `record` counts from 1. Throws DataError "path: record N: reason" when no more are allowed.
  void add(int64_t record, const std::string& reason);
  /// Of a file with a record a line: "path:line:column: reason" (without a column where it is 0).
  void add_at(int64_t line, int64_t column, const std::string& reason);
  /// True for records of at most kMaxRecordBytes; adds the others as malformed.
  bool check_size(int64_t record, size_t n_bytes);
  /// "path: 3 malformed records skipped (first: record 5: …)", or "" for none.
  std::string note() const;

 private:
  void add_problem(const std::string& place, const std::string& separator, const std::string& reason);
  std::string path_;
  int64_t n_allowed_;
  int64_t n_bad_ = 0;
  std::string first_;
};

}  // namespace mpeft::data
