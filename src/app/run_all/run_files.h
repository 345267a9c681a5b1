#pragma once

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <string>

#include "app/run_all/experiments.h"

namespace mpeft::app {

/// How far a run is, as its files say.
struct RunProgress {
  int64_t epoch = 0;        ///< the epoch that is being trained (1-based); 0: nothing is known yet
  int64_t step = 0;         ///< optimizer steps done
  int64_t total_steps = 0;  ///< 0: not known
  double loss = std::nan("");
  int64_t n_evaluations = 0;
  std::string metric_name;  ///< the data set's first metric; "" before the first evaluation
  double metric = std::nan("");
  double best_metric = std::nan("");
  int64_t best_epoch = 0;
};

/// True when `train` marked the run in the experiment's folder as finished, and that was a run with `debug` as the
/// experiment is one, or neither is: a few steps are not what the whole experiment leaves.
bool is_finished_run(const Experiment& experiment);

/// Whether is_finished_run, and the run was asked for with the experiment's settings and has left its result, as far as
/// its folder says: then `train` would find nothing to do. Else it trains longer, or says what differs or is gone.
bool is_finished_as_asked(const Experiment& experiment);

/// Follows the files of one attempt at a run, whose process is about to start: what lies in the folder already is not
/// its progress. Reads only what was added since the last look.
class RunFollower {
 public:
  explicit RunFollower(std::filesystem::path output_dir);

  /// Looks again; true when something is new.
  bool poll();
  const RunProgress& progress() const { return progress_; }
  /// Whether the attempt has written a manifest: what it found finished it leaves alone.
  bool has_begun() const { return manifest_.inode != 0; }

 private:
  bool poll_manifest();
  bool poll_metrics();
  void read_line(const std::string& line);

  // One state of a file. The inode alone is not enough: a file system gives that of a removed file to the next one.
  struct FileState {
    uint64_t inode = 0;  // 0: there is no file
    uint64_t size = 0;
    int64_t changed_ns = 0;
    bool operator==(const FileState&) const = default;
  };
  static FileState state_of(const std::filesystem::path& path);

  std::filesystem::path output_dir_;
  FileState old_manifest_, old_metrics_;  // what was there before
  FileState manifest_;                    // what was read
  uint64_t metrics_inode_ = 0;
  uint64_t offset_ = 0;  // of the first byte of metrics.jsonl that was not read
  std::string first_metric_;
  RunProgress progress_;
};

}  // namespace mpeft::app
