// DART (Nan et al. 2021): sets of triples and sentences that say them, https://github.com/Yale-LILY/dart.
#include <algorithm>
#include <set>

#include "mpeft/core/error.h"
#include "mpeft/core/strings.h"

#include "data/data_files.h"
#include "data/dataset_source.h"
#include "data/json_input.h"
#include "data/record_errors.h"

namespace mpeft::data {
namespace {

using nlohmann::json;

using Triple = std::array<std::string, 3>;
using Tripleset = std::vector<Triple>;

struct DartRecord {
  Tripleset triples;
  std::vector<std::string> texts;
};

// Why a record is malformed, or "".
std::string parse_record(const json& value, DartRecord& record) {
  if (!value.is_object()) return "expected an object with tripleset and annotations";
  const auto triples = value.find("tripleset");
  if (triples == value.end() || !triples->is_array() || triples->empty())
    return "tripleset: expected a list of triples";
  for (const auto& triple : *triples) {
    const bool is_triple = triple.is_array() && triple.size() == 3 &&
                           std::all_of(triple.begin(), triple.end(), [](const json& part) { return part.is_string(); });
    if (!is_triple) return "tripleset: expected [subject, relation, object], three texts";
    record.triples.push_back(
        {triple[0].get<std::string>(), triple[1].get<std::string>(), triple[2].get<std::string>()});
  }
  const auto annotations = value.find("annotations");
  if (annotations == value.end() || !annotations->is_array()) return "annotations: expected a list";
  for (const auto& annotation : *annotations) {
    const auto text = annotation.is_object() ? annotation.find("text") : annotation.end();
    if (!annotation.is_object() || text == annotation.end() || !text->is_string())
      return "annotations: expected objects with a text";
    record.texts.push_back(text->get<std::string>());
  }
  return "";
}

size_t bytes_of(const DartRecord& record) {
  size_t bytes = 0;
  for (const auto& triple : record.triples) {
    for (const auto& part : triple) bytes += part.size();
  }
  for (const auto& text : record.texts) bytes += text.size();
  return bytes;
}

std::string linearize(const Tripleset& triples) {
  std::vector<std::string> parts;
  for (const auto& triple : triples) parts.push_back(triple[0] + " : " + triple[1] + " : " + triple[2]);
  return join(parts, " | ");
}

class Dart : public DatasetSource {
 public:
  explicit Dart(const SourceContext& context) : n_bad_allowed_(context.skip_bad_records) {
    const auto& options = context.options;
    if (!context.name.variant.empty() || !context.name.path.empty()) {
      throw ConfigError("data: dart has no variants (dart, dart-tvt, dart_1000, dart-tvt_1000)");
    }
    data_root_ = context.data_root;
    folder_ = data_root_ + "/" + options["folder"].as_string("dart");
    train_file_ = options["train_file"].as_string("dart-v1.1.1-full-train.json");
    val_file_ = options["val_file"].as_string("dart-v1.1.1-full-dev.json");
    test_file_ = options["test_file"].as_string("dart-v1.1.1-full-test.json");
    exclude_files_ = options["exclude_files"].as_strings();
  }

  std::string instruction() const override { return "Write the following facts as a fluent text."; }
  std::vector<std::string> metrics() const override { return {"bleu", "meteor"}; }

  SourceRecords read(Split split) const override {
    SourceRecords result;
    const std::string& name = split == Split::kTrain        ? train_file_
                              : split == Split::kValidation ? val_file_
                                                            : test_file_;
    const auto excluded = split == Split::kTrain ? excluded_triples(result) : std::set<Tripleset>();
    const std::string path = locate(name, to_string(split) + "_file");
    result.files.push_back(path);

    int64_t n_empty_texts = 0, n_without_text = 0, n_excluded = 0;
    for_each_record(path, result.notes, [&](int64_t index, DartRecord&& record) {
      if (excluded.count(record.triples) > 0) {
        ++n_excluded;
        return;
      }
      const auto n_all = record.texts.size();
      std::erase_if(record.texts, [](const std::string& text) { return trim(text).empty(); });
      n_empty_texts += static_cast<int64_t>(n_all - record.texts.size());
      if (record.texts.empty()) {
        ++n_without_text;
        return;
      }
      result.records.push_back({linearize(record.triples), std::move(record.texts), index});
    });
    if (n_empty_texts > 0) result.notes.push_back(str(path, ": ", n_empty_texts, " empty reference texts skipped"));
    if (n_without_text > 0)
      result.notes.push_back(str(path, ": ", n_without_text, " records without any text skipped"));
    if (n_excluded > 0)
      result.notes.push_back(str(path, ": ", n_excluded, " records left out, their triples are in exclude_files"));
    return result;
  }

 private:
  // `option` is the key of data_options that names the file.
  std::string locate(const std::string& name, const std::string& option) const {
    return locate_official_file(
        {"dart", folder_, name, option, "https://github.com/Yale-LILY/dart (data/v1.1.1)", "dart", data_root_});
  }

  template <typename Visit>
  void for_each_record(const std::string& path, std::vector<std::string>& notes, const Visit& visit) const {
    const json document = read_json_file(path);
    if (!document.is_array()) throw DataError(path + ": expected a JSON list of records");
    RecordErrors errors(path, n_bad_allowed_);
    for (size_t i = 0; i < document.size(); ++i) {
      DartRecord record;
      const std::string reason = parse_record(document[i], record);
      if (!reason.empty()) {
        errors.add(static_cast<int64_t>(i) + 1, reason);
      } else if (errors.check_size(static_cast<int64_t>(i) + 1, bytes_of(record))) {
        visit(static_cast<int64_t>(i), std::move(record));
      }
    }
    if (const std::string note = errors.note(); !note.empty()) notes.push_back(note);
  }

  // The same triples mean the same input, whatever the texts: training on it would give away an evaluation record.
  std::set<Tripleset> excluded_triples(SourceRecords& result) const {
    std::set<Tripleset> triples;
    for (const auto& name : exclude_files_) {
      const std::string path = locate(name, "exclude_files");
      result.files.push_back(path);
      for_each_record(path, result.notes,
                      [&](int64_t, DartRecord&& record) { triples.insert(std::move(record.triples)); });
    }
    return triples;
  }

  int64_t n_bad_allowed_;
  std::string data_root_, folder_, train_file_, val_file_, test_file_;
  std::vector<std::string> exclude_files_;
};

}  // namespace

std::unique_ptr<DatasetSource> make_dart(const SourceContext& context) { return std::make_unique<Dart>(context); }

}  // namespace mpeft::data
