#include "app/results_table.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "mpeft/core/strings.h"
#include "mpeft/train/metrics_log.h"

namespace mpeft::app {

std::vector<std::string> results_table(const std::filesystem::path& metrics_file, const std::string& first_metric) {
  const auto lines = train::read_eval_lines(metrics_file);
  if (lines.empty()) return {};
  // The metric that counts comes first, the others by name.
  std::vector<std::string> names;
  for (const auto& line : lines) {
    for (const auto& [name, value] : line.metrics) {
      if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
    }
  }
  std::sort(names.begin(), names.end(), [&](const std::string& a, const std::string& b) {
    return std::pair(a != first_metric, a) < std::pair(b != first_metric, b);
  });

  std::vector<std::vector<std::string>> rows = {{"epoch", "step", "loss"}};
  rows[0].insert(rows[0].end(), names.begin(), names.end());
  const auto* const best = train::best_evaluation(lines, first_metric);
  for (const auto& line : lines) {
    std::vector<std::string> row = {std::to_string(line.epoch), with_thousands(line.step),
                                    std::isnan(line.loss) ? "-" : fixed(line.loss, 4)};
    for (const auto& name : names) {
      const auto it = line.metrics.find(name);
      row.push_back(it == line.metrics.end() ? "-" : fixed(it->second, 4));
    }
    rows.push_back(std::move(row));
  }

  std::vector<std::string> table(rows.size());
  for (size_t column = 0; column < rows[0].size(); ++column) {
    size_t width = 0;
    for (const auto& row : rows) width = std::max(width, row[column].size());
    for (size_t i = 0; i < rows.size(); ++i) {
      table[i] += std::string(width + 2 - rows[i][column].size(), ' ') + rows[i][column];
    }
  }
  if (best != nullptr) table[static_cast<size_t>(best - lines.data()) + 1] += "  ← best " + first_metric;
  return table;
}

}  // namespace mpeft::app
