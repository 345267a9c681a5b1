#include "mpeft/eval/predictions.h"

#include <algorithm>

#include <nlohmann/json.hpp>

#include "mpeft/config/node.h"
#include "mpeft/core/error.h"
#include "mpeft/core/fs.h"
#include "mpeft/core/json.h"
#include "mpeft/core/strings.h"

namespace mpeft::eval {
namespace {

using nlohmann::ordered_json;

std::string to_json_line(const Prediction& prediction) {
  ordered_json object;
  object["record"] = prediction.record;
  object["input"] = prediction.input;
  object["prediction"] = prediction.prediction;
  object["references"] = prediction.references;
  if (!prediction.group.empty()) object["group"] = prediction.group;
  if (!prediction.db_id.empty()) object["db_id"] = prediction.db_id;
  for (const auto& [name, score] : prediction.class_scores) object["class_scores"][name] = score;
  return object.dump(-1, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

/// A double-quoted YAML scalar: JSON's escapes, and what YAML does not allow (or folds) inside quotes.
std::string yaml_quoted(const std::string& bytes) {
  const std::string text = to_valid_utf8(bytes);
  std::string json = ordered_json(text).dump();
  std::string quoted;
  for (size_t i = 0; i < json.size(); ++i) {
    const auto at = [&](size_t k) { return i + k < json.size() ? static_cast<unsigned char>(json[i + k]) : 0U; };
    if (at(0) == 0x7F) {
      quoted += "\\x7F";
    } else if (at(0) == 0xC2 && at(1) >= 0x80 && at(1) < 0xA0) {  // U+0080 … U+009F
      constexpr const char* kHex = "0123456789ABCDEF";
      quoted += std::string("\\x") + kHex[at(1) >> 4] + kHex[at(1) & 15];
      i += 1;
    } else if (at(0) == 0xE2 && at(1) == 0x80 && (at(2) == 0xA8 || at(2) == 0xA9)) {
      quoted += at(2) == 0xA8 ? "\\u2028" : "\\u2029";
      i += 2;
    } else if (at(0) == 0xEF && at(1) == 0xBB && at(2) == 0xBF) {
      quoted += "\\uFEFF";
      i += 2;
    } else {
      quoted += json[i];
    }
  }
  return quoted;
}

std::string to_yaml_item(const Prediction& prediction) {
  std::string item = str("- record: ", prediction.record, "\n  input: ", yaml_quoted(prediction.input),
                         "\n  prediction: ", yaml_quoted(prediction.prediction), "\n  references:");
  if (prediction.references.empty()) item += " []";
  for (const auto& reference : prediction.references) item += "\n    - " + yaml_quoted(reference);
  if (!prediction.group.empty()) item += "\n  group: " + yaml_quoted(prediction.group);
  if (!prediction.db_id.empty()) item += "\n  db_id: " + yaml_quoted(prediction.db_id);
  if (!prediction.class_scores.empty()) item += "\n  class_scores:";
  for (const auto& [name, score] : prediction.class_scores)
    item += "\n    " + yaml_quoted(name) + ": " + ordered_json(score).dump();
  return item + "\n";
}

class JsonRecord {
 public:
  JsonRecord(const std::string& line, const std::string& path, int64_t number) : path_(path), number_(number) {
    try {
      object_ = parse_ordered_json(line, number);
    } catch (const JsonProblem& problem) {
      throw DataError(problem.at(path));
    }
    if (!object_.is_object()) fail("expected a JSON object");
  }
  std::string string(const char* key) const {
    const auto& value = at(key);
    if (!value.is_string()) fail(str("'", key, "': expected a string, got ", value.type_name()));
    return value.get<std::string>();
  }
  /// A string, or a number spelt out: classes and values.
  std::string text(const char* key) const {
    const auto& value = at(key);
    if (value.is_number()) return value.dump();
    if (!value.is_string()) fail(str("'", key, "': expected a string or a number, got ", value.type_name()));
    return value.get<std::string>();
  }
  std::vector<std::string> texts(const char* key) const {
    const auto& value = at(key);
    if (!value.is_array()) fail(str("'", key, "': expected a list of strings, got ", value.type_name()));
    std::vector<std::string> result;
    for (const auto& item : value) {
      if (!item.is_string() && !item.is_number())
        fail(str("'", key, "': expected strings or numbers, got ", item.type_name()));
      result.push_back(item.is_number() ? item.dump() : item.get<std::string>());
    }
    return result;
  }
  std::vector<std::pair<std::string, double>> numbers(const char* key) const {
    const auto& value = at(key);
    if (!value.is_object()) fail(str("'", key, "': expected an object of numbers, got ", value.type_name()));
    std::vector<std::pair<std::string, double>> result;
    for (const auto& [name, number] : value.items()) {
      if (!number.is_number()) fail(str("'", key, "': '", name, "': expected a number, got ", number.type_name()));
      result.emplace_back(name, number.get<double>());
    }
    return result;
  }
  int64_t integer(const char* key) const {
    const auto& value = at(key);
    if (!value.is_number_integer()) fail(str("'", key, "': expected an integer, got ", value.type_name()));
    return value.get<int64_t>();
  }
  bool has(const char* key) const { return object_.contains(key); }

 private:
  const ordered_json& at(const char* key) const {
    const auto it = object_.find(key);
    if (it == object_.end()) fail(str("'", key, "' is missing"));
    return *it;
  }
  [[noreturn]] void fail(const std::string& reason) const { throw DataError(str(path_, ":", number_, ": ", reason)); }

  ordered_json object_;
  const std::string& path_;
  int64_t number_;
};

std::vector<Prediction> read_yaml(const std::string& content, const std::string& path) {
  std::vector<Prediction> predictions;
  try {
    config::Problems problems;
    // As large as the file is. It has fewer values than bytes, unless its aliases multiply.
    constexpr int64_t kFewValues = 100'000;
    const config::YamlLimits limits{content.size(), std::max(kFewValues, static_cast<int64_t>(content.size()))};
    const auto root = config::Node::from_string(content, path, problems, limits);
    if (!root.is_list()) throw DataError(path + ": expected a list of predictions");
    for (const auto& item : root.items()) {
      Prediction prediction;
      prediction.record = item["record"].as_int(static_cast<int64_t>(predictions.size()));
      prediction.input = item["input"].as_string();
      for (const char* key : {"prediction", "references"}) {
        if (!item[key].is_present()) item.problem(str("'", key, "' is missing"));
      }
      prediction.prediction = item["prediction"].as_string();
      prediction.references = item["references"].as_strings();
      prediction.group = item["group"].as_string();
      prediction.db_id = item["db_id"].as_string();
      const auto class_scores = item["class_scores"];
      if (class_scores.is_present()) {
        for (const auto& name : class_scores.keys())
          prediction.class_scores.emplace_back(name, class_scores[name].as_double(0));
      }
      predictions.push_back(std::move(prediction));
    }
    problems.throw_if_any();
  } catch (const ConfigError& e) {  // a predictions file is data, whatever its notation
    throw DataError(e.what());
  }
  return predictions;
}

}  // namespace

PredictionsFormat predictions_format_from_string(const std::string& name) {
  if (name == "jsonl") return PredictionsFormat::kJsonLines;
  if (name == "yaml") return PredictionsFormat::kYaml;
  throw ConfigError(str("predictions_format: expected jsonl or yaml, got '", name, "'"));
}

std::string file_extension(PredictionsFormat format) { return format == PredictionsFormat::kYaml ? ".yaml" : ".jsonl"; }

void write_predictions(const std::filesystem::path& path, const std::vector<Prediction>& predictions,
                       PredictionsFormat format) {
  std::string content;
  for (const auto& prediction : predictions) {
    content += format == PredictionsFormat::kYaml ? to_yaml_item(prediction) : to_json_line(prediction);
  }
  if (content.empty() && format == PredictionsFormat::kYaml) content = "[]\n";
  fs::write_file_atomic(path, content);
}

std::vector<Prediction> parse_predictions(const std::string& content, const std::string& path) {
  std::vector<Prediction> predictions;
  int64_t line_number = 0;
  for (size_t begin = 0; begin < content.size();) {
    const size_t end = std::min(content.find('\n', begin), content.size());
    const std::string line = content.substr(begin, end - begin);
    begin = end + 1;
    ++line_number;
    if (trim(line).empty()) continue;
    const JsonRecord record(line, path, line_number);
    Prediction prediction;
    prediction.record = record.has("record") ? record.integer("record") : static_cast<int64_t>(predictions.size());
    if (record.has("input")) prediction.input = record.string("input");
    prediction.prediction = record.text("prediction");
    const bool has_gold = record.has("gold") && !record.has("references");
    prediction.references = has_gold ? std::vector{record.string("gold")} : record.texts("references");
    if (record.has("group")) prediction.group = record.string("group");
    if (record.has("db_id")) prediction.db_id = record.string("db_id");
    if (record.has("class_scores")) prediction.class_scores = record.numbers("class_scores");
    predictions.push_back(std::move(prediction));
  }
  return predictions;
}

std::vector<Prediction> read_predictions(const std::filesystem::path& path) {
  const std::string content = fs::read_file(path);
  const auto extension = path.extension();
  const bool is_yaml = extension == ".yaml" || extension == ".yml";
  return is_yaml ? read_yaml(content, path.string()) : parse_predictions(content, path.string());
}

std::vector<metrics::Record> to_records(const std::vector<Prediction>& predictions) {
  std::vector<metrics::Record> records;
  records.reserve(predictions.size());
  for (const auto& prediction : predictions)
    records.push_back({prediction.prediction, prediction.references, prediction.db_id});
  return records;
}

}  // namespace mpeft::eval
