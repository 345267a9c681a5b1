#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "mpeft/metrics/metric.h"

namespace mpeft::eval {

/// What was generated for one example, or which token was the likeliest, beside what would have been right.
struct Prediction {
  int64_t record = 0;  ///< index in the source file
  std::string input;   ///< the prompt as text
  std::string prediction;
  std::vector<std::string> references;
  std::string group = {};  ///< part of the split that is also scored alone; "" for none
  /// Log-probability of each class, in the order of their numbers; empty where texts are generated.
  std::vector<std::pair<std::string, double>> class_scores = {};
  std::string db_id = {};  ///< Spider: the database that the query is for; "" elsewhere
};

enum class PredictionsFormat { kJsonLines, kYaml };
/// "jsonl" or "yaml". Throws ConfigError for another name.
PredictionsFormat predictions_format_from_string(const std::string& name);
/// The file name's ending, with the dot: ".jsonl", ".yaml".
std::string file_extension(PredictionsFormat format);

/// Writes one object a line (JSON) or one item each (YAML): record, input, prediction, references and, where there are
/// any, group, db_id and class_scores. Atomic; ill-formed UTF-8 becomes U+FFFD. Throws DataError naming the path.
void write_predictions(const std::filesystem::path& path, const std::vector<Prediction>& predictions,
                       PredictionsFormat format = PredictionsFormat::kJsonLines);

/// Reads what write_predictions wrote, or anybody's JSON lines with `prediction` and `references`, texts or numbers, or
/// one text `gold` instead of the references (the other keys may be absent; blank lines are skipped). A name that ends
/// in .yaml or .yml is YAML. Throws DataError: path, line, reason.
std::vector<Prediction> read_predictions(const std::filesystem::path& path);

/// As read_predictions, from JSON lines in memory; `name` stands for the path in messages.
std::vector<Prediction> parse_predictions(const std::string& json_lines, const std::string& name);

/// As the metrics want them.
std::vector<metrics::Record> to_records(const std::vector<Prediction>& predictions);

}  // namespace mpeft::eval
