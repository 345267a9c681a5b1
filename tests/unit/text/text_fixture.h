#pragma once

#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <unistd.h>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "mpeft/core/error.h"
#include "mpeft/core/fs.h"
#include "mpeft/text/tokenizer.h"

namespace mpeft::text {

inline std::string golden(const std::string& name) { return std::string(MPEFT_TEST_GOLDEN_DIR "/text/") + name; }

inline std::vector<nlohmann::json> golden_lines(const std::string& name) {
  std::ifstream file(golden(name));
  std::vector<nlohmann::json> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(nlohmann::json::parse(line));
  return lines;
}

/// A folder of its own for each test, gone afterwards.
class TemporaryFolder : public ::testing::Test {
 protected:
  TemporaryFolder() {
    const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
    folder_ = std::filesystem::temp_directory_path() / (std::string("mpeft_text_") + info->test_suite_name() + "_" +
                                                        info->name() + "_" + std::to_string(::getpid()));
    std::filesystem::create_directories(folder_);
  }
  ~TemporaryFolder() override { std::filesystem::remove_all(folder_); }

  std::string write(const std::string& name, std::string_view content) const {
    fs::write_file_atomic(folder_ / name, content);
    return (folder_ / name).string();
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

  std::filesystem::path folder_;
};

}  // namespace mpeft::text
