// DART (Nan et al. 2021): sets of (subject, relation, object) triples and sentences that say them. Official files:
// `dart/dart-v1.1.1-full-{train,dev,test}.json`, a list of {"tripleset": [[s, r, o], …], "annotations": [{"source", "text"}, …]}.

#include <set>

#include "data/dataset_factory.h"
#include "mpeft/core/error.h"
#include "mpeft/core/strings.h"

namespace mpeft::data {
namespace {

using nlohmann::json;

constexpr const char* kInstruction = "Write one text that says what these triples say.";
constexpr const char* kSeparator = "###";
constexpr const char* kHowToGet =
    "DART is at github.com/Yale-LILY/dart (data/v1.1.1); `scripts/prepare_data.py dart` fetches it into data/dart";

struct Record {
  std::string triples;              // "subject : relation : object | …"
  std::vector<std::string> texts;
};

// Throws std::string with the reason when the record is malformed.
Record read_record(const json& object, int64_t* n_empty) {
  if (!object.is_object()) throw std::string("expected an object");
  const json triples = object.value("tripleset", json());
  if (!triples.is_array() || triples.empty()) throw std::string("tripleset: expected a list of [subject, relation, object]");
  Record record;
  for (const auto& triple : triples) {
    const bool good = triple.is_array() && triple.size() == 3 && triple[0].is_string() && triple[1].is_string() && triple[2].is_string();
    if (!good) throw std::string("tripleset: expected three strings, got " + triple.dump(-1, ' ', false, json::error_handler_t::replace).substr(0, 80));
    if (!record.triples.empty()) record.triples += " | ";
    record.triples += triple[0].get<std::string>() + " : " + triple[1].get<std::string>() + " : " + triple[2].get<std::string>();
  }
  const json annotations = object.value("annotations", json());
  if (!annotations.is_array()) throw std::string("annotations: expected a list");
  for (const auto& annotation : annotations) {
    if (!annotation.is_object() || !annotation.contains("text") || !annotation.at("text").is_string()) {
      throw std::string("annotations: expected objects with a \"text\"");
    }
    const std::string text(trim(annotation.at("text").get<std::string>()));
    if (text.empty()) {
      ++*n_empty;
    } else {
      record.texts.push_back(text);
    }
  }
  return record;
}

std::vector<Record> read_records(const std::string& path, int64_t tolerated, TextDataset& dataset) {
  const json list = read_json(path);
  if (!list.is_array()) throw DataError(path + ": expected a list of records");
  BadRecords bad(path, tolerated);
  std::vector<Record> records;
  int64_t n_empty = 0;
  for (size_t i = 0; i < list.size(); ++i) {
    try {
      records.push_back(read_record(list[i], &n_empty));
    } catch (const std::string& reason) {
      bad.add(static_cast<int64_t>(i), reason);
      records.emplace_back();  // keeps the numbering of the file
    }
  }
  if (n_empty > 0) dataset.notes.push_back(str(path, ": ", n_empty, " empty reference texts skipped"));
  if (bad.count() > 0) dataset.notes.push_back(str(path, ": ", bad.count(), " malformed records skipped"));
  return records;
}

}  // namespace

TextDataset make_dart(const DatasetContext& context) {
  const auto& [request, argument, options] = context;
  // Every key is read whatever the split, so that none of them is "unknown".
  const std::string train_file = options["train_file"].as_string("dart/dart-v1.1.1-full-train.json");
  const std::string val_file = options["val_file"].as_string("dart/dart-v1.1.1-full-dev.json");
  const std::string test_file = options["test_file"].as_string("dart/dart-v1.1.1-full-test.json");
  const auto exclude_files = options["exclude_files"].as_strings();
  const int64_t skip = options["skip_records"].as_int_in(0, 0, INT64_MAX);
  const int64_t take = options["max_records"].as_int_in(0, 0, INT64_MAX);
  const int64_t max_val = options["max_val_records"].as_int_in(0, 0, INT64_MAX);
  const int64_t tolerated = options["skip_bad_records"].as_int_in(0, 0, INT64_MAX);

  const bool is_train = request.split == Split::kTrain;
  const auto& relative = is_train ? train_file : request.split == Split::kValidation ? val_file : test_file;
  const std::string path = existing_file(request.data_root, relative, kHowToGet);
  TextDataset dataset;
  dataset.metrics = {"bleu", "meteor"};
  dataset.source_files = {path};
  auto records = read_records(path, tolerated, dataset);

  // exclude_files: training records whose triples occur in other files are left out (an older release used beside a newer one).
  std::set<std::string> excluded;
  if (is_train) {
    for (const auto& file : exclude_files) {
      const std::string other = existing_file(request.data_root, file, kHowToGet);
      dataset.source_files.push_back(other);
      TextDataset ignored;
      for (const auto& record : read_records(other, tolerated, ignored)) excluded.insert(record.triples);
    }
  }
  const std::string instruction = request.prompt.empty() ? kInstruction : request.prompt;
  const int64_t limit = is_train ? take : max_val;
  int64_t n_excluded = 0, position = 0;
  for (size_t i = 0; i < records.size(); ++i) {
    auto& record = records[i];
    if (record.texts.empty()) continue;
    if (excluded.contains(record.triples)) {
      ++n_excluded;
      continue;
    }
    const int64_t place = position++;
    if (is_train && place < skip) continue;
    if (limit > 0 && place >= limit + (is_train ? skip : 0)) break;
    TextExample example;
    example.input_parts = {instruction + kSeparator, record.triples + kSeparator};
    example.target = record.texts.front();
    example.references = std::move(record.texts);
    example.record = static_cast<int64_t>(i);
    dataset.examples.push_back(std::move(example));
  }
  if (n_excluded > 0) dataset.notes.push_back(str(path, ": ", n_excluded, " records left out that are in ", join(exclude_files, ", ")));
  return dataset;
}

}  // namespace mpeft::data
