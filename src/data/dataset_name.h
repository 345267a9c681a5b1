#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace mpeft::data {

/// The parts of a data set's name: `glue-tvt_rte_1000` is set "glue", tvt, variant "rte", subset 1000;
/// `jsonl:a/b.jsonl` is set "jsonl", path "a/b.jsonl".
struct DatasetName {
  std::string set;
  bool tvt = false;
  std::string variant;  ///< what stands between set and subset; "" for none
  int64_t subset = 0;   ///< 0: all records
  std::string path;     ///< after the colon
};

/// Throws ConfigError for a name that has no such form, or whose set is not one of `known` (with a suggestion).
DatasetName parse_dataset_name(const std::string& name, const std::vector<std::string>& known);

}  // namespace mpeft::data
