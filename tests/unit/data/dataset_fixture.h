#pragma once

#include <string>
#include <vector>

#include "mpeft/core/error.h"
#include "mpeft/core/strings.h"
#include "mpeft/data/dataset.h"

#include "unit/data/temporary_folder.h"

namespace mpeft::data {

/// A test that reads data sets from a folder of its own.
class DatasetTest : public TemporaryFolderTest {
 protected:
  TextDataset read(const std::string& name, Split split, const std::string& options = "{}",
                   const std::string& prompt = "") const {
    config::Problems problems;
    DatasetRequest request{name, split, root_.string(), config::Node::from_string(options, "x.yaml", problems), prompt};
    return read_dataset(request);
  }
  /// The message of what reading throws, or "".
  std::string error_of(const std::string& name, Split split, const std::string& options = "{}") const {
    try {
      read(name, split, options);
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  }
};

/// Source indices of the examples.
inline std::vector<int64_t> records_of(const TextDataset& dataset) {
  std::vector<int64_t> list;
  for (const auto& example : dataset.examples) list.push_back(example.record);
  return list;
}

/// "3,1,2": what golden files hold the SHA-256 of.
inline std::string joined(const std::vector<int64_t>& indices) {
  std::vector<std::string> texts;
  for (const int64_t i : indices) texts.push_back(std::to_string(i));
  return join(texts, ",");
}

}  // namespace mpeft::data
