#pragma once

#include <functional>

#include "data/dataset_source.h"

namespace mpeft::data {

/// A part of a split by position: `first: N`, `last: N` or `range: [begin, end]` (end not included).
struct Slice {
  enum class Kind { kAll, kFirst, kLast, kRange } kind = Kind::kAll;
  int64_t begin = 0;
  int64_t end = 0;  ///< N of first and last
};

/// Reads a slice; absent is all.
Slice make_slice(const config::Node& node);

/// The records of `split` as the name asks for them: the official split; of a `-tvt` set a part of the training records
/// (DatasetSource::tvt_split), or the official validation for the test; of a subset the first N (for validation N / 10)
/// in the order of python_shuffle with seed 0.
SourceRecords select_records(const DatasetSource& source, const DatasetName& name, Split split);

/// Keeps the slice; throws ConfigError when it selects nothing.
void apply_slice(const Slice& slice, const std::string& what, SourceRecords& records);

}  // namespace mpeft::data
