#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace mpeft::train {

class EventFile;

/// `metrics.jsonl`: one JSON object a line, `kind` "train" or "eval", appended and flushed line by line. Beside it, the
/// same numbers as a TensorBoard event file (`events.out.tfevents.…`).
class MetricsLog {
 public:
  /// Opens (or makes) the file. On a resume the lines of steps after `keep_up_to_step` are dropped first, so that the
  /// file reads as that of a run that was never interrupted. `stage`: written into each line; 0: a run without stages.
  MetricsLog(std::filesystem::path path, int64_t keep_up_to_step, int64_t stage = 0);
  ~MetricsLog();

  struct TrainLine {
    int64_t epoch = 0;  ///< 1-based
    int64_t step = 0;   ///< optimizer steps done
    double loss = 0;    ///< nats per labelled token
    double learning_rate = 0;
    double gradient_norm = 0;
    double tokens_per_second = 0;
    double step_ms = 0;         ///< mean of the steps since the line before
    uint64_t memory_bytes = 0;  ///< peak
  };
  void train(const TrainLine& line);
  void eval(int64_t epoch, int64_t step, const std::map<std::string, double>& metrics, double seconds);

 private:
  void append(const std::string& line);
  std::filesystem::path path_;
  std::unique_ptr<EventFile> events_;
  int64_t stage_;
};

/// The `eval` lines of a metrics.jsonl.
struct EvalLine {
  int64_t epoch = 0;
  int64_t step = 0;
  std::map<std::string, double> metrics;
  double loss = std::numeric_limits<double>::quiet_NaN();  ///< of the last `train` line before it
};
std::vector<EvalLine> read_eval_lines(const std::filesystem::path& path);

/// The one with the largest value of `metric`, the first of equals; NaN is never the best. Null: none has a value.
const EvalLine* best_evaluation(const std::vector<EvalLine>& lines, const std::string& metric);

}  // namespace mpeft::train
