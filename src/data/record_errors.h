#pragma once

#include <cstdint>
#include <string>

namespace mpeft::data {

/// Malformed records of one file: throws at the first, or tolerates and counts as many as the user allowed.
class RecordErrors {
 public:
  RecordErrors(std::string path, int64_t n_allowed) : path_(std::move(path)), n_allowed_(n_allowed) {}
  /// `record` counts from 1. Throws DataError "path: record N: reason" when no more are allowed.
  void add(int64_t record, const std::string& reason);
  /// "path: 3 malformed records skipped (first: record 5: …)", or "" for none.
  std::string note() const;

 private:
  std::string path_;
  int64_t n_allowed_;
  int64_t n_bad_ = 0;
  std::string first_;
};

}  // namespace mpeft::data
