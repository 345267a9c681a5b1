// SAMSum (Gliwa et al. 2019): messenger dialogues and their summaries, https://arxiv.org/abs/1911.12237. One JSON array
// a split of {"id", "summary", "dialogue"}.
#include "mpeft/core/error.h"
#include "mpeft/core/strings.h"

#include "data/data_files.h"
#include "data/dataset_source.h"
#include "data/json_input.h"
#include "data/record_errors.h"

namespace mpeft::data {
namespace {

using nlohmann::json;

// Why a record is malformed, or "". Texts stay as they are, line ends included.
std::string parse_record(const json& value, std::string& dialogue, std::string& summary) {
  if (!value.is_object()) return "expected an object with dialogue and summary";
  for (const auto& [key, text] : {std::pair{"dialogue", &dialogue}, std::pair{"summary", &summary}}) {
    const auto found = value.find(key);
    if (found == value.end() || !found->is_string()) return str(key, ": expected a text");
    *text = found->get<std::string>();
  }
  return "";
}

class Samsum : public DatasetSource {
 public:
  explicit Samsum(const SourceContext& context)
      : data_root_(context.data_root), n_bad_allowed_(context.skip_bad_records) {
    const auto& options = context.options;
    if (!context.name.variant.empty() || !context.name.path.empty()) {
      throw ConfigError("data: samsum has no variants (samsum, samsum-tvt, samsum_1000, samsum-tvt_1000)");
    }
    folder_ = data_root_ + "/" + options["folder"].as_string("samsum");
    for (const Split split : {Split::kTrain, Split::kValidation, Split::kTest})
      files_[static_cast<size_t>(split)] = options[to_string(split) + "_file"].as_string(to_string(split) + ".json");
  }

  std::string instruction() const override { return "Sum up this conversation in a few sentences."; }
  std::vector<std::string> metrics() const override { return {"rouge1", "rouge2", "rougeL", "rougeLsum"}; }

  SourceRecords read(Split split) const override {
    SourceRecords result;
    const std::string path =
        locate_official_file({"samsum", folder_, files_[static_cast<size_t>(split)], to_string(split) + "_file",
                              "https://arxiv.org/abs/1911.12237", "samsum", data_root_});
    result.files.push_back(path);
    const json document = read_json_file(path);
    if (!document.is_array()) throw DataError(path + ": expected a JSON list of records");
    RecordErrors errors(path, n_bad_allowed_);
    int64_t n_without_summary = 0;
    for (size_t i = 0; i < document.size(); ++i) {
      const auto index = static_cast<int64_t>(i);
      std::string dialogue, summary;
      if (const std::string reason = parse_record(document[i], dialogue, summary); !reason.empty()) {
        errors.add(index + 1, reason);
      } else if (!errors.check_size(index + 1, dialogue.size() + summary.size())) {
        continue;
      } else if (trim(summary).empty()) {
        ++n_without_summary;  // there is nothing to learn or to compare with
      } else {
        result.records.push_back({std::move(dialogue), {std::move(summary)}, index});
      }
    }
    if (n_without_summary > 0)
      result.notes.push_back(str(path, ": ", n_without_summary, n_without_summary == 1 ? " record" : " records",
                                 " without a summary skipped"));
    if (const std::string note = errors.note(); !note.empty()) result.notes.push_back(note);
    return result;
  }

 private:
  std::string data_root_, folder_;
  int64_t n_bad_allowed_;
  std::string files_[3];  // by Split
};

}  // namespace

std::unique_ptr<DatasetSource> make_samsum(const SourceContext& context) { return std::make_unique<Samsum>(context); }

}  // namespace mpeft::data
