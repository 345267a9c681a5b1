#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "mpeft/core/error.h"
#include "mpeft/metrics/metric.h"

#include "metrics/punkt.h"
#include "metrics/wordnet.h"

namespace mpeft::metrics {

/// The reference values agree to this, relative and absolute: both sides add the same numbers in another order at most.
inline constexpr double kTolerance = 1e-9;

inline std::vector<nlohmann::json> read_json_lines(const std::filesystem::path& path) {
  std::ifstream file(path);
  EXPECT_TRUE(file) << path;
  std::vector<nlohmann::json> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(nlohmann::json::parse(line));
  EXPECT_FALSE(lines.empty()) << path;
  return lines;
}

inline Record to_record(const nlohmann::json& line) {
  return {line.at("prediction").get<std::string>(), line.at("references").get<std::vector<std::string>>()};
}

/// Folders of reference values: the one in the repository, and further ones that MPEFT_METRICS_CASES names.
inline std::vector<std::filesystem::path> case_folders() {
  std::vector<std::filesystem::path> folders = {std::filesystem::path(MPEFT_TEST_GOLDEN_DIR) / "metrics"};
  if (const char* more = std::getenv("MPEFT_METRICS_CASES")) folders.emplace_back(more);
  return folders;
}

/// "" when WordNet and NLTK's Punkt parameters are there, else what is missing. MPEFT_DATA_ROOT/nltk_data serves as
/// NLTK_DATA where that is not set.
inline std::string missing_language_data() {
  if (const char* root = std::getenv("MPEFT_DATA_ROOT"))
    setenv("NLTK_DATA", (std::string(root) + "/nltk_data").c_str(), 0);
  if (!find_punkt_folder()) return "NLTK's punkt_tab is not installed (set NLTK_DATA)";
  try {
    find_wordnet_folder();
  } catch (const DataError& error) {
    return error.what();
  }
  return "";
}

}  // namespace mpeft::metrics
