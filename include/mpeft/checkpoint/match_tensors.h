#pragma once

#include <map>
#include <string>
#include <vector>

#include "mpeft/checkpoint/tensor_map.h"

namespace mpeft::checkpoint {

/// Shapes by tensor name: what a model or adapter expects.
using TensorShapes = std::map<std::string, std::vector<int64_t>>;

/// How the tensors of a file differ from the expected ones.
struct MatchReport {
  struct MisShaped {
    std::string name;
    std::vector<int64_t> expected;
    std::vector<int64_t> found;
  };

  std::vector<std::string> missing;     ///< expected, not in the file
  std::vector<std::string> unexpected;  ///< in the file, not expected
  std::vector<MisShaped> mis_shaped;

  bool is_ok() const { return missing.empty() && unexpected.empty() && mis_shaped.empty(); }

  /// One line per tensor, under a first line that counts them and begins with `where`; a missing name comes with the
  /// unexpected one that it resembles.
  std::string message(const std::string& where) const;

  /// Throws CheckpointError with message(where) unless is_ok().
  void throw_if_any(const std::string& where) const;
};

/// Compares names and shapes; dtypes may differ.
MatchReport match_tensors(const TensorShapes& expected, const TensorMap& found);

}  // namespace mpeft::checkpoint
