#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace mpeft::app {

/// The evaluations of a run as lines of a table: epoch, step, training loss, each metric; the row with the largest
/// `first_metric` is marked. Empty when `metrics.jsonl` holds none.
std::vector<std::string> results_table(const std::filesystem::path& metrics_file, const std::string& first_metric);

}  // namespace mpeft::app
