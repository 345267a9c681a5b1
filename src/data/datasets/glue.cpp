// GLUE (Wang et al. 2019), eight of its tasks as they are published: https://gluebenchmark.com/tasks. One task is one
// row of the table below; all have a digit for a label.
#include <algorithm>
#include <array>

#include "mpeft/core/error.h"
#include "mpeft/core/strings.h"

#include "data/data_files.h"
#include "data/dataset_source.h"
#include "data/record_errors.h"
#include "data/tsv_file.h"

namespace mpeft::data {
namespace {

using Texts = std::vector<std::string>;

struct Task {
  std::string name;    // as in `glue_rte`
  std::string folder;  // below glue/
  std::string instruction;
  Texts inputs;  // columns that make the input
  std::string label;
  Texts labels;  // spellings in the file; the class is the position
  Texts metrics;
  Texts columns = {};    // of files without a line that names them
  int64_t n_broken = 0;  // rows of the published training file that a line end inside a text broke in two, at most
};

const std::vector<Task>& tasks() {
  static const std::vector<Task> kTasks = {
      {"cola",
       "CoLA",
       "Is this an acceptable English sentence? Answer 0 for unacceptable, 1 for acceptable.",
       {"sentence"},
       "label",
       {"0", "1"},
       {"matthews"},
       {"source", "label", "mark", "sentence"}},
      {"mnli",
       "MNLI",
       "How does the second sentence relate to the first? Answer 0 if it follows, 1 if it may or may not be true, 2 if "
       "it is contradicted.",
       {"sentence1", "sentence2"},
       "gold_label",
       {"entailment", "neutral", "contradiction"},
       {"accuracy"}},
      {"mrpc",
       "MRPC",
       "Do these two sentences say the same? Answer 0 for no, 1 for yes.",
       {"#1 String", "#2 String"},
       "Quality",
       {"0", "1"},
       {"accuracy", "f1"}},
      {"qnli",
       "QNLI",
       "Does the sentence answer the question? Answer 0 if it does, 1 if it does not.",
       {"question", "sentence"},
       "label",
       {"entailment", "not_entailment"},
       {"accuracy"}},
      {"qqp",
       "QQP",
       "Do these two questions ask the same? Answer 0 for no, 1 for yes.",
       {"question1", "question2"},
       "is_duplicate",
       {"0", "1"},
       {"accuracy", "f1"},
       {},
       32},
      {"rte",
       "RTE",
       "Does the second text follow from the first? Answer 0 if it does, 1 if it does not.",
       {"sentence1", "sentence2"},
       "label",
       {"entailment", "not_entailment"},
       {"accuracy"}},
      {"sst2",
       "SST-2",
       "Is the mood of this sentence bad or good? Answer 0 for bad, 1 for good.",
       {"sentence"},
       "label",
       {"0", "1"},
       {"accuracy"}},
      {"wnli",
       "WNLI",
       "Does the second sentence follow from the first? Answer 0 if it does not, 1 if it does.",
       {"sentence1", "sentence2"},
       "label",
       {"0", "1"},
       {"accuracy"}},
  };
  return kTasks;
}

const Task& task_of(const DatasetName& name) {
  Texts known;
  for (const auto& task : tasks()) {
    if (name.variant == task.name && name.path.empty()) return task;
    known.push_back(task.name);
  }
  throw ConfigError("data: glue: expected a task, as in glue-tvt_rte, got '" + name.variant + "'" +
                    did_you_mean(name.variant, known) + "; there are: " + join(known, ", "));
}

class Glue : public DatasetSource {
 public:
  explicit Glue(const SourceContext& context)
      : task_(task_of(context.name)), data_root_(context.data_root), n_bad_allowed_(context.skip_bad_records) {
    folder_ = data_root_ + "/" + context.options["folder"].as_string("glue/" + task_.folder);
  }

  std::string instruction() const override { return task_.instruction; }
  Texts metrics() const override { return task_.metrics; }
  bool end_token_after_target() const override { return false; }
  Texts classes() const override {
    Texts digits;
    for (size_t i = 0; i < task_.labels.size(); ++i) digits.push_back(str(i));
    return digits;
  }

  SourceRecords read(Split split) const override {
    SourceRecords result;
    switch (split) {
      case Split::kTrain:
        read_file("train.tsv", "", task_.n_broken, result);
        break;
      case Split::kValidation:
        if (task_.name == "mnli") {
          read_file("dev_matched.tsv", "matched", 0, result);
          read_file("dev_mismatched.tsv", "mismatched", 0, result);
        } else {
          read_file("dev.tsv", "", 0, result);
        }
        break;
      case Split::kTest:
        throw DataError("glue_" + task_.name + ": the labels of GLUE's test files are not published; glue-tvt_" +
                        task_.name + " tests on the development set and validates on a fifth of the training set");
    }
    return result;
  }

 private:
  void read_file(const std::string& name, const std::string& group, int64_t n_broken_allowed,
                 SourceRecords& result) const {
    const std::string path = locate_official_file(
        {"glue_" + task_.name, folder_, name, "", "https://gluebenchmark.com/tasks", "glue_" + task_.name, data_root_});
    result.files.push_back(path);
    TsvFile file(path, task_.columns);
    const size_t label = file.column(task_.label);
    std::vector<size_t> inputs;
    for (const auto& input : task_.inputs) inputs.push_back(file.column(input));

    RecordErrors errors(path, n_bad_allowed_);
    int64_t n_broken = 0, n_unlabelled = 0;
    std::vector<std::string_view> fields;
    for (int64_t index = 0; file.next(fields); ++index) {
      if (!errors.check_size(index + 1, file.line_size())) continue;
      if (fields.size() != file.n_columns()) {
        if (fields.size() < file.n_columns() && n_broken < n_broken_allowed) {
          ++n_broken;
        } else {
          errors.add(index + 1, str(fields.size(), " columns where ", file.n_columns(), " are expected"));
        }
        continue;
      }
      const auto found = std::find(task_.labels.begin(), task_.labels.end(), fields[label]);
      if (found == task_.labels.end()) {
        if (fields[label] == "-") {  // the annotators of MNLI did not agree
          ++n_unlabelled;
        } else {
          errors.add(index + 1, str("column '", task_.label, "': expected ", join(task_.labels, " or "), ", got '",
                                    to_valid_utf8(fields[label].substr(0, 40)), "'"));
        }
        continue;
      }
      Texts texts;
      for (const size_t input : inputs) texts.emplace_back(fields[input]);
      result.records.push_back({join(texts, kSeparator), {str(found - task_.labels.begin())}, index, group});
    }
    if (n_broken > 0)
      result.notes.push_back(
          str(path, ": ", n_broken, n_broken == 1 ? " row" : " rows", " broken by a line end inside a text skipped"));
    if (n_unlabelled > 0)
      result.notes.push_back(
          str(path, ": ", n_unlabelled, n_unlabelled == 1 ? " record" : " records", " without a label (-) skipped"));
    if (const std::string note = errors.note(); !note.empty()) result.notes.push_back(note);
  }

  const Task& task_;
  std::string data_root_, folder_;
  int64_t n_bad_allowed_;
};

}  // namespace

std::unique_ptr<DatasetSource> make_glue(const SourceContext& context) { return std::make_unique<Glue>(context); }

}  // namespace mpeft::data
