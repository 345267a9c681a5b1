#pragma once

#include <functional>
#include <string>

#include <nlohmann/json.hpp>

#include "mpeft/data/dataset.h"

namespace mpeft::data {

/// What a data set is made from: the request, the part of its name behind the colon, and its options, whose problems
/// read_dataset reports.
struct DatasetContext {
  const DatasetRequest& request;
  std::string argument;
  config::Node options;
};

/// Counts malformed records and decides whether they are tolerated (`skip_bad_records: N`).
class BadRecords {
 public:
  BadRecords(std::string path, int64_t tolerated) : path_(std::move(path)), tolerated_(tolerated) {}
  /// Throws DataError with path, record and reason when more than the tolerated number is bad.
  void add(int64_t record, const std::string& reason);
  int64_t count() const { return count_; }

 private:
  std::string path_;
  int64_t tolerated_;
  int64_t count_ = 0;
};

/// Reads and parses a JSON file of at most 2 GiB. Throws DataError with path, line and column.
nlohmann::json read_json(const std::string& path);

/// The file of a split below the data root. Throws DataError saying where it was looked for and `how_to_get` it.
std::string existing_file(const std::string& data_root, const std::string& relative, const std::string& how_to_get);

#define DATASET(name, factory) TextDataset factory(const DatasetContext& context);
#include "data/datasets.def"
#undef DATASET

}  // namespace mpeft::data
