#pragma once

#include <memory>
#include <string>
#include <vector>

#include "mpeft/config/node.h"
#include "mpeft/data/example.h"

namespace mpeft::data {

enum class Split { kTrain, kValidation, kTest };
/// "train", "val", "test".
std::string to_string(Split split);
/// Throws ConfigError for another name.
Split split_from_string(const std::string& name);

/// Where data sets are and how they are asked for.
struct DatasetRequest {
  std::string name;  ///< what the configuration says: "dart", "jsonl:PATH", "glue-tvt_rte_1000"
  Split split = Split::kTrain;
  std::string data_root = "data";  ///< folder that holds the data sets
  config::Node options;            ///< the `data_options:` section (fields, templates); may be empty
  std::string prompt;              ///< overrides the data set's instruction when not empty
  bool shares_file = true;  ///< no other set was named for validation: one without official splits holds a part out
};

/// A data set read into memory as text. One file a data set in src/data/datasets, one line in datasets.def.
struct TextDataset {
  std::vector<TextExample> examples;
  std::vector<std::string> metrics;  ///< names of metrics.def that evaluation computes
  std::vector<std::string> classes;  ///< label-only sets: every target is one of these texts; empty: texts to write
  std::vector<std::string> source_files;  ///< for hashes in the manifest
  std::vector<std::string> notes;         ///< what was skipped and counted, for people
  bool end_token_after_target = true;     ///< NLG labels end with the end token
  int64_t max_length = 0;                 ///< limit in tokens that the data set asks for; 0: none
  std::string databases;                  ///< folder of the databases that queries run on (Spider); "" for none
};

/// Between instruction, fields and label of every prompt.
inline constexpr const char* kSeparator = "###";

/// Names registered in datasets.def, sorted.
std::vector<std::string> dataset_names();

/// True where `data:` and `val_data:` stand for one set: the same name, or a jsonl file by two spellings.
bool is_one_dataset(const std::string& data, const std::string& val_data, const std::string& data_root);

/// What is wrong with a data set's name or variant, with a suggestion; "" for nothing. read_dataset throws the same.
std::string dataset_name_problem(const std::string& name);

/// Reads a data set. A name is `<set>`, `<set>-tvt` (validation is a fifth of the training records, the test split is
/// the official validation), or either with `_<n>` behind it (n training records, n / 10 for validation). Options that
/// every set takes: `metrics` (list), `skip_bad_records` (how many malformed records are tolerated and counted), and
/// `train_slice`, `val_slice`, `test_slice`: {first: N}, {last: N} or {range: [begin, end]}. Throws ConfigError for an
/// unknown name (with a suggestion) and DataError for an absent folder (where it was looked for, where it comes from,
/// how to fetch it) or a malformed record (path, record number, reason).
TextDataset read_dataset(const DatasetRequest& request);

/// Limits for tokenize().
struct TokenizeOptions {
  int64_t max_length = 0;       ///< examples with more tokens are dropped and counted; 0: the data set's own limit
  bool for_training = true;     ///< one example per reference text where the data set has several
  bool with_references = true;  ///< false: examples carry no references, which only evaluation and people ask for
  int64_t n_threads = 0;        ///< 0: one per core
};

/// What tokenize() made, and what it left out.
struct TokenizedDataset {
  std::vector<Example> examples;
  int64_t n_dropped = 0;  ///< longer than max_length; nothing is ever cut short
  std::vector<std::string> metrics;
  std::vector<std::string> classes;  ///< as TextDataset::classes
  std::string databases;             ///< as TextDataset::databases
};

/// Tokenises on all cores; the result does not depend on their number.
TokenizedDataset tokenize(const TextDataset& dataset, const text::Tokenizer& tokenizer, const TokenizeOptions& options);

}  // namespace mpeft::data
