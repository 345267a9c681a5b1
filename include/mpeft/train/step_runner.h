#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "mpeft/data/example.h"
#include "mpeft/model/mamba_lm.h"
#include "mpeft/optim/adamw.h"

namespace mpeft::train {

/// Scales the loss so that fp16 gradients neither vanish nor overflow (Micikevicius et al. 2018): halves after an
/// overflow, doubles after 2,000 good steps.
struct LossScale {
  double value = 65536.0;
  int64_t good_steps = 0;
};

/// What the steps since the last report did.
struct StepStatistics {
  double loss = 0.0;            ///< mean over the steps of the mean loss per labelled token
  double gradient_norm = 0.0;   ///< of the last step, before clipping
  int64_t consecutive_bad = 0;  ///< steps in a row, up to the last one, whose loss or gradient was not finite
};

class StepGraphs;

/// One optimizer step: forward, loss, backward over the micro-batches, clip, update. Nothing waits for the device
/// except the check of the first step, fp16's overflow test, the recording of a graph, take_statistics() and
/// has_finite_…().
class StepRunner {
 public:
  /// `parameters`: what trains, under its names in the model. `use_loss_scale` with fp16. `use_graphs`: on a GPU, what
  /// batches of one shape do is recorded once and replayed (CUDA graphs), with the same results bit for bit.
  StepRunner(model::MambaLM model, std::vector<optim::TrainedParameter> parameters, const optim::AdamWOptions& options,
             bool use_loss_scale, bool use_graphs = true);
  ~StepRunner();
  StepRunner(const StepRunner&) = delete;
  StepRunner& operator=(const StepRunner&) = delete;

  /// The loss is the mean over the labelled tokens of all micro-batches together, so that 2 x 4 rows train as 8 rows
  /// do. On the first step every trainable tensor must get a finite gradient; else throws TrainingStopped naming those
  /// that do not.
  void step(const std::vector<data::Batch>& micro_batches, double learning_rate);

  /// Reads the sums back from the device and starts new ones.
  StepStatistics take_statistics();

  /// Whether all that trains is finite, and so is the loss of the last step. Waits for the device.
  bool has_finite_weights() const;
  bool has_finite_loss() const;

  /// Shapes of batches that are recorded by now.
  size_t n_graphs() const;
  /// Drops what is recorded, with its memory, and records no more. False if nothing was.
  bool give_up_graphs();

  optim::AdamW& optimizer() { return optimizer_; }
  LossScale& loss_scale() { return loss_scale_; }

 private:
  void run_micro_batches(const std::vector<data::Batch>& micro_batches, int64_t n_labels, double scale);
  void check_first_gradients() const;
  void adapt_loss_scale(bool is_finite);

  model::MambaLM model_;
  std::vector<optim::TrainedParameter> parameters_;
  optim::AdamW optimizer_;
  bool use_loss_scale_;
  bool first_checked_ = false;
  LossScale loss_scale_;
  std::unique_ptr<StepGraphs> graphs_;
  at::Tensor step_loss_;        // 0-dim fp32 (fp64 with fp64), on the device: of the micro-batches so far
  at::Tensor loss_sum_;         // 0-dim fp32, on the device
  at::Tensor consecutive_bad_;  // 0-dim fp32, on the device
  at::Tensor last_norm_;        // 0-dim fp32, on the device
  int64_t steps_in_sum_ = 0;
};

}  // namespace mpeft::train
