#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "mpeft/metrics/metric.h"

namespace mpeft::eval {

/// What was generated for one example, beside what would have been right.
struct Prediction {
  int64_t record = 0;  ///< index in the source file
  std::string input;   ///< the prompt as text
  std::string prediction;
  std::vector<std::string> references;
};

enum class PredictionsFormat { kJsonLines, kYaml };
/// "jsonl" or "yaml". Throws ConfigError for another name.
PredictionsFormat predictions_format_from_string(const std::string& name);
/// The file name's ending, with the dot: ".jsonl", ".yaml".
std::string file_extension(PredictionsFormat format);

/// Writes one object a line (JSON) or one item each (YAML): record, input, prediction, references. Atomic; ill-formed
/// UTF-8 becomes U+FFFD. Throws DataError naming the path.
void write_predictions(const std::filesystem::path& path, const std::vector<Prediction>& predictions,
                       PredictionsFormat format = PredictionsFormat::kJsonLines);

/// Reads what write_predictions wrote, or anybody's JSON lines with `prediction` and `references` (`record` and `input`
/// may be absent; blank lines are skipped). A name that ends in .yaml or .yml is YAML. Throws DataError: path, line,
/// reason.
std::vector<Prediction> read_predictions(const std::filesystem::path& path);

/// As the metrics want them.
std::vector<metrics::Record> to_records(const std::vector<Prediction>& predictions);

}  // namespace mpeft::eval
