// Spider (Yu et al. 2018): questions, the databases they are about, and the SQL that answers them.
// https://yale-lily.github.io/spider
#include <algorithm>
#include <filesystem>

#include "mpeft/core/error.h"
#include "mpeft/core/strings.h"
#include "mpeft/metrics/spider_hardness.h"

#include "data/data_files.h"
#include "data/dataset_source.h"
#include "data/json_input.h"
#include "data/record_errors.h"
#include "data/spider_text.h"

namespace mpeft::data {
namespace {

using nlohmann::json;

constexpr int64_t kMaxLength = 1536;
constexpr const char* kOrigin = "https://yale-lily.github.io/spider";
constexpr const char* kNames = "spider, spider-tvt, spider_hard_extra, spider-tvt_1000, spider-tvt_hard_extra_1000";

struct SpiderRecord {
  std::string question, query, db_id;
};

// Why a record is malformed, or "".
std::string parse_record(const json& value, const metrics::SpiderDatabases& databases, SpiderRecord& record) {
  if (!value.is_object()) return "expected an object with question, query and db_id";
  for (const auto& [key, text] :
       {std::pair{"question", &record.question}, {"query", &record.query}, {"db_id", &record.db_id}}) {
    const auto found = value.find(key);
    if (found == value.end() || !found->is_string()) return std::string(key) + ": expected a text";
    *text = found->get<std::string>();
    if (trim(*text).empty()) return std::string(key) + ": is empty";
  }
  if (databases.count(record.db_id) == 0) return "db_id: '" + to_valid_utf8(record.db_id) + "' is not in tables.json";
  return "";
}

class Spider : public DatasetSource {
 public:
  explicit Spider(const SourceContext& context)
      : data_root_(context.data_root), n_bad_allowed_(context.skip_bad_records) {
    const auto& options = context.options;
    if (!context.name.path.empty()) throw ConfigError(str("data: spider has no path (there are ", kNames, ")"));
    read_levels(context.name.variant);
    folder_option_ = options["folder"].as_string();
    train_file_ = options["train_file"].as_string("train_spider.json");
    others_ = options["train_others"].as_bool(false);
    val_file_ = options["val_file"].as_string("dev.json");
    test_file_ = options["test_file"].as_string();
    lowercase_ = options["spider_lowercase"].as_bool(true);
  }

  std::string instruction() const override {
    return "Write the SQL query that answers this question from these tables.";
  }
  std::vector<std::string> metrics() const override { return {"execution", "exact"}; }
  int64_t max_length() const override { return kMaxLength; }
  std::string databases() const override { return folder(); }

  SourceRecords read(Split split) const override {
    SourceRecords result;
    const std::string tables_path = locate("tables.json", "");
    const auto databases = metrics::read_spider_tables(tables_path);
    std::map<std::string, std::string> schemas;
    for (const auto& [id, database] : databases) schemas[id] = spider_schema_text(database);
    if (split == Split::kTrain) {
      read_file(locate(train_file_, "train_file"), databases, schemas, result);
      if (others_) read_file(locate("train_others.json", ""), databases, schemas, result);
    } else if (split == Split::kValidation) {
      read_file(locate(val_file_, "val_file"), databases, schemas, result);
    } else if (!test_file_.empty()) {
      read_file(locate(test_file_, "test_file"), databases, schemas, result);
    } else {
      throw DataError(
          "spider: the test split is not part of the set: name a file with data_options.test_file, or use "
          "spider-tvt, whose test split is dev.json");
    }
    result.files.push_back(tables_path);
    return result;
  }

 private:
  // "hard_extra": only questions of these levels.
  void read_levels(const std::string& variant) {
    if (variant.empty()) return;
    const auto known = metrics::spider_hardness_names();
    levels_ = split(variant, '_');
    for (const auto& level : levels_) {
      if (std::find(known.begin(), known.end(), level) == known.end())
        throw ConfigError(str("data: spider_", variant, ": no level '", level, "'", did_you_mean(level, known),
                              "; a variant joins levels of ", join(known, ", "), " by _ (there are ", kNames, ")"));
    }
  }

  std::vector<std::string> folders() const {
    if (!folder_option_.empty()) return {data_root_ + "/" + folder_option_, folder_option_};
    return {data_root_ + "/xlangai_spider/spider", data_root_ + "/spider"};
  }

  // The first of folders() that is there.
  std::string folder() const {
    const auto candidates = folders();
    std::error_code ignored;
    for (const auto& candidate : candidates) {
      if (std::filesystem::is_directory(candidate, ignored)) return candidate;
    }
    throw DataError(str("spider: no folder ", join(candidates, " nor "), "\n  it comes from ", kOrigin,
                        " (questions, tables.json and databases in one archive); on a machine with a network the "
                        "questions alone:\n  python3 scripts/prepare_data.py spider --output ",
                        data_root_));
  }

  std::string locate(const std::string& name, const std::string& option) const {
    return locate_official_file({"spider", folder(), name, option, kOrigin, "spider", data_root_});
  }

  void read_file(const std::string& path, const metrics::SpiderDatabases& databases,
                 const std::map<std::string, std::string>& schemas, SourceRecords& result) const {
    result.files.push_back(path);
    // The parsed query and the lists of words are three quarters of a file and not needed.
    const json document = read_json_file(path, {"sql", "query_toks", "query_toks_no_value", "question_toks"});
    if (!document.is_array()) throw DataError(path + ": expected a JSON list of records");
    RecordErrors errors(path, n_bad_allowed_);
    int64_t n_without_level = 0;
    for (size_t i = 0; i < document.size(); ++i) {
      SpiderRecord record;
      const std::string reason = parse_record(document[i], databases, record);
      if (!reason.empty()) {
        errors.add(static_cast<int64_t>(i) + 1, reason);
        continue;
      }
      if (!errors.check_size(static_cast<int64_t>(i) + 1, record.question.size() + record.query.size())) continue;
      SourceRecord source;
      source.input = std::string(trim(record.question)) + kSeparator + schemas.at(record.db_id);
      source.references = {spider_label(record.query, lowercase_)};
      source.record = static_cast<int64_t>(i);
      if (!levels_.empty()) {
        const std::string level = metrics::spider_hardness(databases.at(record.db_id), record.query);
        n_without_level += level.empty() ? 1 : 0;
        source.left_out = std::find(levels_.begin(), levels_.end(), level) == levels_.end();
      }
      source.db_id = std::move(record.db_id);
      result.records.push_back(std::move(source));
    }
    if (const std::string note = errors.note(); !note.empty()) result.notes.push_back(note);
    if (n_without_level > 0)
      result.notes.push_back(str(path, ": ", n_without_level, " queries that cannot be parsed have no level"));
  }

  std::string data_root_;
  int64_t n_bad_allowed_;
  std::vector<std::string> levels_;  // empty: all
  std::string folder_option_, train_file_, val_file_, test_file_;
  bool others_ = false;
  bool lowercase_ = true;
};

}  // namespace

std::unique_ptr<DatasetSource> make_spider(const SourceContext& context) { return std::make_unique<Spider>(context); }

}  // namespace mpeft::data
