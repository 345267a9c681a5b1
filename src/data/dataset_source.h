#pragma once

#include <memory>
#include <string>
#include <vector>

#include "mpeft/config/node.h"
#include "mpeft/data/dataset.h"
#include "mpeft/data/split.h"

#include "data/dataset_name.h"

namespace mpeft::data {

/// A record as a data set's file holds it, before the prompt is put around it.
struct SourceRecord {
  std::string input;                    ///< the fields, joined as the set's template says; without the instruction
  std::vector<std::string> references;  ///< one or more; the first is the target
  int64_t record = 0;                   ///< index in the file
  std::string group = {};               ///< part of the split that is also scored alone; "" for none
  std::string db_id = {};               ///< the database that a query is for; "" where the target is no query
  bool left_out = false;  ///< has its place in a `-tvt` split but is not of the variant that was asked for
};

/// One official split in the order of its file.
struct SourceRecords {
  std::vector<SourceRecord> records;
  std::vector<std::string> files;
  std::vector<std::string> notes;
};

/// A data set on disk: one implementation a file in datasets/. Its factory reads the set's own keys of `data_options`.
class DatasetSource {
 public:
  virtual ~DatasetSource() = default;
  /// Throws DataError for an absent file or malformed records.
  virtual SourceRecords read(Split split) const = 0;
  virtual std::string instruction() const = 0;
  virtual std::vector<std::string> metrics() const = 0;
  virtual bool end_token_after_target() const { return true; }
  /// Examples of more tokens are dropped, unless the experiment says otherwise; 0: no limit.
  virtual int64_t max_length() const { return 0; }
  /// Folder of the databases that queries run on; "" for sets whose targets are no queries.
  virtual std::string databases() const { return ""; }
  /// Sets whose labels are classes: the texts that a target can be, in the order of their numbers. Empty: free texts.
  virtual std::vector<std::string> classes() const { return {}; }
  /// Indices of a `-tvt` set's training part and validation part among `n` training records: a fifth is for validation,
  /// drawn with kTvtSeed, unless the set says otherwise.
  virtual SplitIndices tvt_split(int64_t n) const;
};

/// The seed of every `-tvt` split.
inline constexpr uint64_t kTvtSeed = 123;

/// What a factory is given.
struct SourceContext {
  DatasetName name;
  std::string data_root;
  config::Node options;          ///< the `data_options:` section; problems in it are collected by the caller
  int64_t skip_bad_records = 0;  ///< how many malformed records a file may have
  bool shares_file = true;       ///< as in DatasetRequest: training and validation come from this set
};

}  // namespace mpeft::data
