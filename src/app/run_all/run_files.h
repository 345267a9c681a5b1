#pragma once

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <string>

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

/// True when `train` marked the run in this folder as finished.
bool is_finished_run(const std::filesystem::path& output_dir);

/// Follows the files of one attempt at a run, whose process is about to start: what lies in the folder already is not
/// its progress. Reads only what was added since the last look.
class RunFollower {
 public:
  explicit RunFollower(std::filesystem::path output_dir);

  /// Looks again; true when something is new.
  bool poll();
  const RunProgress& progress() const { return progress_; }

 private:
  bool poll_manifest();
  bool poll_metrics();
  void read_line(const std::string& line);

  std::filesystem::path output_dir_;
  uint64_t old_manifest_, old_metrics_;  // inodes that were there before: 0 for none
  uint64_t manifest_ = 0, metrics_ = 0;  // inodes that were read
  uint64_t offset_ = 0;                  // of the first byte of metrics.jsonl that was not read
  std::string first_metric_;
  RunProgress progress_;
};

}  // namespace mpeft::app
