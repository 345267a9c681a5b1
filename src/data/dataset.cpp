#include "mpeft/data/dataset.h"

#include <filesystem>
#include <functional>
#include <map>

#include "data/dataset_factory.h"
#include "mpeft/core/error.h"
#include "mpeft/core/fs.h"
#include "mpeft/core/strings.h"

namespace mpeft::data {
namespace {

using Factory = std::function<TextDataset(const DatasetContext&)>;

const std::map<std::string, Factory>& factories() {
  static const std::map<std::string, Factory> table = {
#define DATASET(name, factory) {#name, factory},
#include "data/datasets.def"
#undef DATASET
  };
  return table;
}

}  // namespace

std::string to_string(Split split) {
  switch (split) {
    case Split::kTrain: return "train";
    case Split::kValidation: return "val";
    case Split::kTest: return "test";
  }
  return "?";
}

Split split_from_string(const std::string& name) {
  if (name == "train") return Split::kTrain;
  if (name == "val") return Split::kValidation;
  if (name == "test") return Split::kTest;
  throw ConfigError(str("split '", name, "' is not known", did_you_mean(name, {"train", "val", "test"}), ": train, val or test"));
}

std::vector<std::string> dataset_names() {
  std::vector<std::string> names;
  for (const auto& [name, factory] : factories()) names.push_back(name);
  return names;
}

TextDataset read_dataset(const DatasetRequest& request) {
  const size_t colon = request.name.find(':');
  const std::string name = request.name.substr(0, colon);
  const auto it = factories().find(name);
  if (it == factories().end()) {
    throw ConfigError(str("data: unknown data set '", name, "'", did_you_mean(name, dataset_names()), "; known: ", join(dataset_names(), ", ")));
  }
  config::Problems problems;
  DatasetContext context{request, colon == std::string::npos ? "" : request.name.substr(colon + 1), request.options.with_problems(problems)};
  auto dataset = it->second(context);
  context.options.report_unknown_keys();
  problems.throw_if_any();
  if (dataset.examples.empty()) throw DataError(str(request.name, " (", to_string(request.split), "): no example is left"));
  return dataset;
}

void BadRecords::add(int64_t record, const std::string& reason) {
  if (++count_ > tolerated_) {
    throw DataError(str(path_, ": record ", record, ": ", reason,
                        tolerated_ > 0 ? str(" (and ", tolerated_, " bad records before it)") : "",
                        "\n  data_options.skip_bad_records: N tolerates N of them"));
  }
}

nlohmann::json read_json(const std::string& path) {
  const std::string text = fs::read_file(path, uint64_t{2} << 30);
  try {
    return nlohmann::json::parse(text);
  } catch (const nlohmann::json::exception& e) {
    // "[json.exception.parse_error.101] parse error at line 1, column 2: …": the part from "parse error".
    const std::string what = e.what();
    const size_t begin = what.find("parse error");
    throw DataError(path + ": not valid JSON: " + (begin == std::string::npos ? what : what.substr(begin)));
  }
}

std::string existing_file(const std::string& data_root, const std::string& relative, const std::string& how_to_get) {
  const auto path = std::filesystem::path(data_root) / relative;
  if (std::filesystem::exists(path)) return path.lexically_normal().string();
  throw DataError(str(path.string(), ": no such file\n  ", how_to_get, "\n  or name the folder that holds the data sets with --data-root DIR"));
}

}  // namespace mpeft::data
