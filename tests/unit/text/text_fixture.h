#pragma once

#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "mpeft/core/error.h"
#include "mpeft/core/fs.h"
#include "mpeft/text/tokenizer.h"

#include "support/temporary_folder.h"

namespace mpeft::text {

inline std::string golden(const std::string& name) { return std::string(MPEFT_TEST_GOLDEN_DIR "/text/") + name; }

inline std::vector<nlohmann::json> golden_lines(const std::string& name) {
  std::ifstream file(golden(name));
  std::vector<nlohmann::json> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(nlohmann::json::parse(line));
  return lines;
}

/// A test with a folder of its own.
class TemporaryFolder : public ::testing::Test {
 protected:
  std::string write(const std::string& name, std::string_view content) const {
    return temporary_.write(name, content).string();
  }

  /// The message of the DataError that loading `content` as NAME throws; "" when it loads.
  std::string error_of(const std::string& name, std::string_view content) const {
    try {
      make_tokenizer(write(name, content));
      return "";
    } catch (const DataError& e) {
      return e.what();
    }
  }

  test::TemporaryFolder temporary_;
  std::filesystem::path folder_ = temporary_.path();
};

}  // namespace mpeft::text
