#include "mpeft/data/dataset.h"

#include <algorithm>

#include "mpeft/core/error.h"
#include "mpeft/core/strings.h"

#include "data/data_files.h"
#include "data/dataset_source.h"
#include "data/selection.h"

namespace mpeft::data {

#define DATASET(name, factory) std::unique_ptr<DatasetSource> factory(const SourceContext& context);
#include "data/datasets.def"
#undef DATASET

namespace {

struct Registration {
  const char* name;
  std::unique_ptr<DatasetSource> (*make)(const SourceContext&);
};

constexpr Registration kDatasets[] = {
#define DATASET(name, factory) {#name, &factory},
#include "data/datasets.def"
#undef DATASET
};

std::unique_ptr<DatasetSource> make_source(const SourceContext& context) {
  for (const auto& dataset : kDatasets) {
    if (context.name.set == dataset.name) return dataset.make(context);
  }
  throw ConfigError("data: " + context.name.set + ": unknown data set");  // the name was checked before
}

// As the Python prototype lays it out: instruction, `###`, fields, `###`, label; instruction, input and label are
// tokenised one by one.
TextExample lay_out(SourceRecord&& record, const std::string& instruction) {
  TextExample example;
  if (!instruction.empty()) example.input_parts.push_back(instruction + kSeparator);
  example.input_parts.push_back(record.input + kSeparator);
  example.target = record.references.front();
  example.references = std::move(record.references);
  example.record = record.record;
  example.group = std::move(record.group);
  example.db_id = std::move(record.db_id);
  return example;
}

}  // namespace

std::string to_string(Split split) {
  switch (split) {
    case Split::kTrain:
      return "train";
    case Split::kValidation:
      return "val";
    case Split::kTest:
      break;
  }
  return "test";
}

Split split_from_string(const std::string& name) {
  for (const Split split : {Split::kTrain, Split::kValidation, Split::kTest}) {
    if (name == to_string(split)) return split;
  }
  throw ConfigError("split: expected train, val or test, got '" + name + "'" +
                    did_you_mean(name, {"train", "val", "test"}));
}

std::vector<std::string> dataset_names() {
  std::vector<std::string> names;
  for (const auto& dataset : kDatasets) names.emplace_back(dataset.name);
  std::sort(names.begin(), names.end());
  return names;
}

std::string dataset_name_problem(const std::string& name) {
  try {
    config::Problems ignored;  // what the options lack is said where they are read
    SourceContext context;
    context.name = parse_dataset_name(name, dataset_names());
    context.options = config::Node::from_string("{}", "data_options", ignored);
    make_source(context);  // knows its variants; reads nothing
    return "";
  } catch (const ConfigError& e) {
    return std::string(e.what()).substr(std::string_view("data: ").size());
  }
}

bool is_one_dataset(const std::string& data, const std::string& val_data, const std::string& data_root) {
  if (data == val_data) return true;
  const auto known = dataset_names();
  const DatasetName a = parse_dataset_name(data, known), b = parse_dataset_name(val_data, known);
  if (a.set != "jsonl" || b.set != "jsonl") return false;
  return is_one_file(find_data_file(data_root, a.path), find_data_file(data_root, b.path));
}

TextDataset read_dataset(const DatasetRequest& request) {
  config::Problems problems;
  SourceContext context;
  context.name = parse_dataset_name(request.name, dataset_names());
  context.data_root = request.data_root;
  context.options = request.options.with_problems(problems);
  context.skip_bad_records = context.options["skip_bad_records"].as_int_in(0, 0, int64_t{1} << 32);
  context.shares_file = request.shares_file;
  const auto source = make_source(context);
  TextDataset dataset;
  dataset.metrics = context.options["metrics"].as_strings(source->metrics());
  Slice slice;
  for (const Split split : {Split::kTrain, Split::kValidation, Split::kTest}) {
    const Slice read = make_slice(context.options[to_string(split) + "_slice"]);
    if (split == request.split) slice = read;
  }
  context.options.report_unknown_keys();
  problems.throw_if_any();

  auto records = select_records(*source, context.name, request.split);
  apply_slice(slice, to_string(request.split) + "_slice", records);
  const std::string instruction = request.prompt.empty() ? source->instruction() : request.prompt;
  dataset.examples.reserve(records.records.size());
  for (auto& record : records.records) dataset.examples.push_back(lay_out(std::move(record), instruction));
  dataset.source_files = std::move(records.files);
  dataset.notes = std::move(records.notes);
  dataset.end_token_after_target = source->end_token_after_target();
  dataset.classes = source->classes();
  dataset.max_length = source->max_length();
  dataset.databases = source->databases();
  return dataset;
}

}  // namespace mpeft::data
