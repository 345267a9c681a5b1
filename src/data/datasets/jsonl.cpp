// Anybody's records, one JSON object a line: `data: jsonl:PATH`, fields and template in `data_options:`.
#include <algorithm>
#include <set>

#include "mpeft/core/error.h"
#include "mpeft/core/fs.h"
#include "mpeft/core/json.h"
#include "mpeft/core/strings.h"
#include "mpeft/data/split.h"

#include "data/data_files.h"
#include "data/dataset_source.h"
#include "data/record_errors.h"
#include "data/template.h"

namespace mpeft::data {
namespace {

using nlohmann::json;

constexpr uint64_t kSplitSeed = 123;

// A field that a record lacks or that is of the wrong kind; the text is the reason.
struct BadField {
  std::string reason;
};

const json& field_of(const json& record, const std::string& name) {
  const auto found = record.find(name);
  if (found != record.end() && found->is_null()) throw BadField{"field '" + name + "': is null"};
  if (found != record.end()) return *found;
  std::vector<std::string> names;
  for (const auto& item : record.items()) names.push_back(item.key());
  throw BadField{"no field '" + name + "'" + did_you_mean(name, names)};
}

std::string text_of(const json& value, const std::string& name) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_number() || value.is_boolean()) return value.dump();
  throw BadField{"field '" + name + "': expected a text or a number, got " + value.type_name()};
}

std::vector<std::string> texts_of(const json& value, const std::string& name) {
  if (!value.is_array()) return {text_of(value, name)};
  std::vector<std::string> texts;
  for (const auto& item : value) texts.push_back(text_of(item, name));
  if (texts.empty()) throw BadField{"field '" + name + "': an empty list"};
  return texts;
}

class Jsonl : public DatasetSource {
 public:
  explicit Jsonl(const SourceContext& context)
      : path_(context.name.path),
        data_root_(context.data_root),
        n_bad_allowed_(context.skip_bad_records),
        shares_file_(context.shares_file) {
    if (path_.empty()) throw ConfigError("data: jsonl: expected jsonl:PATH (a file of one JSON object a line)");
    const auto& options = context.options;
    instruction_ = options["instruction"].as_string();
    read_template(options["input"]);
    const auto target = options["target"];
    target_ = target.as_string();
    if (target_.empty())
      target.problem("missing: the field that holds the text to write (a text, or a list of right ones)");
    references_ = options["references"].as_strings();
    read_classes(options["classes"]);
    val_share_ = options["val_share"].as_double_in(val_share_, 0, 0.9);
    end_token_ = options["end_token"].as_bool(classes_.empty());
    for (const Split split : {Split::kValidation, Split::kTest})
      files_[split == Split::kTest] = options[to_string(split) + "_file"].as_string();
  }

  std::string instruction() const override { return instruction_; }
  std::vector<std::string> metrics() const override {
    return classes_.empty() ? std::vector<std::string>{"bleu", "rouge"} : std::vector<std::string>{"accuracy"};
  }
  std::vector<std::string> classes() const override { return classes_; }
  bool end_token_after_target() const override { return end_token_; }

  SourceRecords read(Split split) const override {
    const std::string& named = files_[split == Split::kTest];
    if (split == Split::kTest ? !named.empty() : split == Split::kValidation && has_validation_file())
      return read_file(locate(named));
    if (path_.find("{split}") != std::string::npos) return read_file(locate_split(split));
    if (split == Split::kTest) throw DataError("jsonl: no test file: name it with data_options.test_file");
    auto records = read_file(locate(path_));
    // Where another file is for validation, or this one is, it is read whole.
    if (shares_file_ && !has_validation_file()) keep_part(split, records);
    return records;
  }

 private:
  // Another file than the training's: the same one by another spelling is none.
  bool has_validation_file() const {
    const std::string& name = files_[0];
    return !name.empty() && !is_one_file(find_data_file(data_root_, name), find_data_file(data_root_, path_));
  }

  // One file for training and validation: the same records are kept back every time, whether they are evaluated or not.
  void keep_part(Split split, SourceRecords& records) const {
    if (val_share_ == 0) {
      if (split == Split::kTrain) return;
      throw ConfigError(str("data_options.val_share: 0: no record of ", path_,
                            " is for validation: name val_data or data_options.val_file, or set skip_eval: true"));
    }
    const auto parts = numpy_train_test_split(static_cast<int64_t>(records.records.size()), val_share_, kSplitSeed);
    records.notes.push_back(
        str("no other file is for validation (val_data, data_options.val_file): ", parts.test.size(), " of ",
            records.records.size(), " records are (data_options.val_share: ", val_share_, "; 0 trains on all)"));
    std::vector<SourceRecord> kept;
    for (const int64_t i : split == Split::kTrain ? parts.train : parts.test)
      kept.push_back(std::move(records.records[static_cast<size_t>(i)]));
    records.records = std::move(kept);
  }

  void read_template(const config::Node& node) {
    if (!node.is_present()) node.problem("missing: the input's template, as \"{question}\"");
    if (node.is_map()) {  // what YAML takes {question} for
      node.problem("a template that begins with a brace stands in quotes, as \"{question}\"");
      return;
    }
    try {
      input_ = Template(node.as_string());
    } catch (const ConfigError& e) {
      node.problem(e.what());
    }
  }

  void read_classes(const config::Node& node) {
    classes_ = node.as_strings();
    const std::set<std::string> distinct(classes_.begin(), classes_.end());
    if (node.is_present() && (distinct.size() < 2 || distinct.size() < classes_.size() || distinct.contains("")))
      node.problem("expected two or more different texts, the ones that the target can be");
  }

  std::string locate(const std::string& name) const {
    if (std::string path = find_data_file(data_root_, name); !path.empty()) return path;
    const std::string folder = fs::Path(name).parent_path().string();
    const std::string there = files_in(folder.empty() ? "." : folder, ".jsonl");
    throw DataError(str("jsonl: ", name, ": no such file, neither below ", data_root_, " nor in the working folder",
                        there.empty() ? "" : " (there are " + there + ")"));
  }

  // `{split}` in the path stands for train, val (or dev, validation) and test.
  std::string locate_split(Split split) const {
    std::vector<std::string> words = {to_string(split)};
    if (split == Split::kValidation) words.insert(words.end(), {"dev", "validation"});
    for (const auto& word : words) {
      std::string name = path_;
      name.replace(name.find("{split}"), std::string("{split}").size(), word);
      if (std::string path = find_data_file(data_root_, name); !path.empty()) return path;
    }
    throw DataError(str("jsonl: ", path_, ": no file for split ", join(words, " or "), ", neither below ", data_root_,
                        " nor in the working folder"));
  }

  SourceRecords read_file(const std::string& path) const {
    const fs::MappedFile file(path);
    std::string_view rest = file.view();
    if (rest.substr(0, 3) == "\xEF\xBB\xBF") rest.remove_prefix(3);
    SourceRecords result;
    result.files.push_back(path);
    RecordErrors errors(path, n_bad_allowed_);
    for (int64_t line = 1; !rest.empty(); ++line) {
      const size_t end = std::min(rest.find('\n'), rest.size());
      const std::string_view text = rest.substr(0, end);
      rest.remove_prefix(std::min(end + 1, rest.size()));
      if (trim(text).empty()) continue;
      if (!errors.check_size(line, text.size())) continue;
      try {
        const json value = parse_json(text, {.unique_keys = true});
        if (!value.is_object()) throw BadField{"expected a JSON object"};
        result.records.push_back(parse_record(value, line - 1));
      } catch (const BadField& bad) {
        errors.add(line, bad.reason);
      } catch (const JsonProblem& bad) {
        errors.add_at(line, bad.column, bad.reason);
      }
    }
    if (const std::string note = errors.note(); !note.empty()) result.notes.push_back(note);
    return result;
  }

  SourceRecord parse_record(const json& value, int64_t index) const {
    SourceRecord record;
    record.record = index;
    record.input = input_.fill([&](const std::string& name) { return text_of(field_of(value, name), name); });
    record.references = texts_of(field_of(value, target_), target_);
    for (const auto& name : references_) {
      for (auto& text : texts_of(field_of(value, name), name)) {
        if (std::find(record.references.begin(), record.references.end(), text) == record.references.end())
          record.references.push_back(std::move(text));
      }
    }
    if (!classes_.empty()) check_class(record.references);
    return record;
  }

  void check_class(const std::vector<std::string>& references) const {
    if (references.size() != 1)
      throw BadField{str("field '", target_, "': expected one class, got ", references.size(), " texts")};
    const auto& text = references.front();
    if (std::find(classes_.begin(), classes_.end(), text) == classes_.end())
      throw BadField{"field '" + target_ + "': '" + to_valid_utf8(text.substr(0, 40)) + "' is none of the classes " +
                     join(classes_, ", ")};
  }

  std::string path_, data_root_;
  int64_t n_bad_allowed_;
  bool shares_file_;
  std::vector<std::string> classes_;
  std::string instruction_;
  Template input_{""};
  std::string target_;
  std::vector<std::string> references_;
  double val_share_ = 0.2;
  bool end_token_ = true;
  std::string files_[2];  // validation, test
};

}  // namespace

std::unique_ptr<DatasetSource> make_jsonl(const SourceContext& context) { return std::make_unique<Jsonl>(context); }

}  // namespace mpeft::data
