// Anybody's own records: `data: jsonl:PATH`, one JSON object a line, laid out by `data_options`:
//   input: "{question}"        what the model reads; {field} is the record's field, {{ and }} are braces
//   target: answer             field with the text to write
//   references: answers        optional: field with a list of texts that all count as right
//   metrics: [bleu, meteor]    what evaluation computes
//   val_fraction: 0.1          the part held out when no val_data is named

#include <algorithm>
#include <cmath>
#include <fstream>

#include "data/dataset_factory.h"
#include "mpeft/core/error.h"
#include "mpeft/core/random.h"
#include "mpeft/core/strings.h"

namespace mpeft::data {
namespace {

using nlohmann::json;

constexpr const char* kSeparator = "###";
constexpr size_t kMaxLineBytes = 16 << 20;
constexpr uint64_t kHoldOutSeed = 123;  // which records are held out must not change with the run's seed

// A template in pieces: literal text and field names, alternating.
struct Template {
  struct Piece {
    bool is_field = false;
    std::string text;
  };
  std::vector<Piece> pieces;
};

// Reports what is wrong to `node`.
Template parse_template(const std::string& text, const config::Node& node) {
  Template result;
  std::string literal;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool doubled = i + 1 < text.size() && text[i + 1] == text[i];
    if ((text[i] == '{' || text[i] == '}') && doubled) {
      literal += text[i++];
    } else if (text[i] == '{') {
      const size_t end = text.find('}', i);
      if (end == std::string::npos || end == i + 1) {
        node.problem("'{' without a field name and '}' behind it (write {{ for a brace)");
        return result;
      }
      result.pieces.push_back({false, literal});
      result.pieces.push_back({true, text.substr(i + 1, end - i - 1)});
      literal.clear();
      i = end;
    } else if (text[i] == '}') {
      node.problem("'}' without '{' before it (write }} for a brace)");
      return result;
    } else {
      literal += text[i];
    }
  }
  result.pieces.push_back({false, literal});
  return result;
}

// Text of a field: strings as they are, numbers and booleans as JSON writes them. Throws std::string with the reason.
std::string field_text(const json& record, const std::string& name) {
  if (!record.contains(name)) {
    std::vector<std::string> names;
    for (const auto& item : record.items()) names.push_back(item.key());
    throw str("no field '", name, "'", did_you_mean(name, names));
  }
  const json& value = record.at(name);
  if (value.is_string()) return value.get<std::string>();
  if (value.is_number() || value.is_boolean()) return value.dump();
  throw str("field '", name, "': expected a string or a number");
}

TextExample make_example(const json& record, const Template& input, const std::string& instruction, const std::string& target,
                         const std::string& references) {
  if (!record.is_object()) throw std::string("expected a JSON object");
  std::string text;
  for (const auto& piece : input.pieces) text += piece.is_field ? field_text(record, piece.text) : piece.text;
  TextExample example;
  if (!instruction.empty()) example.input_parts.push_back(instruction + kSeparator);
  example.input_parts.push_back(text + kSeparator);
  example.target = field_text(record, target);
  if (trim(example.target).empty()) throw str("field '", target, "' is empty");
  example.references = {example.target};
  if (!references.empty() && record.contains(references)) {
    const json& list = record.at(references);
    if (!list.is_array() || list.empty()) throw str("field '", references, "': expected a list of strings");
    example.references.clear();
    for (const auto& item : list) {
      if (!item.is_string()) throw str("field '", references, "': expected a list of strings");
      example.references.push_back(item.get<std::string>());
    }
  }
  return example;
}

}  // namespace

TextDataset make_jsonl(const DatasetContext& context) {
  const auto& [request, path, options] = context;
  const auto input_node = options["input"];
  const Template input = parse_template(input_node.as_string("{input}"), input_node);
  const std::string target = options["target"].as_string("target");
  const std::string references = options["references"].as_string("references");
  const double val_fraction = options["val_fraction"].as_double_in(0.1, 0.0, 0.9);
  const int64_t tolerated = options["skip_bad_records"].as_int_in(0, 0, INT64_MAX);
  TextDataset dataset;
  dataset.metrics = options["metrics"].as_strings({"bleu", "meteor"});
  if (path.empty()) throw ConfigError("data: jsonl needs a file: jsonl:PATH");

  std::ifstream file(path);
  if (!file) throw DataError(path + ": no such file (paths in `data: jsonl:PATH` are relative to the working folder)");
  dataset.source_files = {path};
  BadRecords bad(path, tolerated);
  std::string line;
  for (int64_t number = 1; std::getline(file, line); ++number) {
    if (number == 1 && line.starts_with("\xEF\xBB\xBF")) line.erase(0, 3);  // byte order mark
    if (trim(line).empty()) continue;
    try {
      if (line.size() > kMaxLineBytes) throw str("longer than ", human_bytes(kMaxLineBytes));
      const json record = json::parse(line, nullptr, /*allow_exceptions=*/false);
      if (record.is_discarded()) throw std::string("not valid JSON");
      auto example = make_example(record, input, request.prompt, target, references);
      example.record = number;
      dataset.examples.push_back(std::move(example));
    } catch (const std::string& reason) {
      bad.add(number, reason);
    }
  }
  if (bad.count() > 0) dataset.notes.push_back(str(path, ": ", bad.count(), " malformed records skipped"));

  if (request.shares_file && request.split != Split::kTest) {
    const auto n = static_cast<int64_t>(dataset.examples.size());
    const auto n_val = std::min(n, static_cast<int64_t>(std::ceil(val_fraction * static_cast<double>(n))));
    auto order = permutation(n, kHoldOutSeed);
    std::sort(order.begin(), order.begin() + n_val);
    std::sort(order.begin() + n_val, order.end());
    std::vector<TextExample> kept;
    const bool is_train = request.split == Split::kTrain;
    for (int64_t i = is_train ? n_val : 0; i < (is_train ? n : n_val); ++i) {
      kept.push_back(std::move(dataset.examples[static_cast<size_t>(order[static_cast<size_t>(i)])]));
    }
    dataset.examples = std::move(kept);
    dataset.notes.push_back(str(path, ": ", n_val, " of ", n, " records are held out for validation"));
  }
  return dataset;
}

}  // namespace mpeft::data
