#include "mpeft/train/step_runner.h"

#include <ATen/Context.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>

#include "mpeft/core/error.h"
#include "mpeft/core/logging.h"
#include "mpeft/core/strings.h"
#include "mpeft/train/loss.h"

#include "train/step_graphs.h"

namespace mpeft::train {
namespace {

/// Where a GPU's default generator is in its sequence, to go back there. On the CPU nothing is repeated.
class RandomPosition {
 public:
  explicit RandomPosition(at::Device device) {
    if (!device.is_cuda()) return;
    generator_ = at::globalContext().defaultGenerator(device);
    offset_ = generator_.get_offset();
  }
  void restore() {
    if (generator_.defined()) generator_.set_offset(offset_);
  }

 private:
  at::Generator generator_;
  uint64_t offset_ = 0;
};

}  // namespace

StepRunner::StepRunner(model::MambaLM model, std::vector<optim::TrainedParameter> parameters,
                       const optim::AdamWOptions& options, bool use_loss_scale, bool use_graphs)
    : model_(std::move(model)),
      parameters_(std::move(parameters)),
      optimizer_(parameters_, options),
      use_loss_scale_(use_loss_scale) {
  const auto on_device = at::TensorOptions().dtype(at::kFloat).device(model_->device());
  step_loss_ = at::zeros({}, on_device.dtype(model_->compute_dtype == at::kDouble ? at::kDouble : at::kFloat));
  loss_sum_ = at::zeros({}, on_device);
  consecutive_bad_ = at::zeros({}, on_device);
  last_norm_ = at::zeros({}, on_device);
  graphs_ = std::make_unique<StepGraphs>(model_->device(), use_graphs, [this](const StepInputs& inputs) {
    const at::Tensor loss = token_loss_sum(model_, inputs.batch).div(inputs.n_labels);
    loss.mul(inputs.loss_scale).backward();
    const torch::NoGradGuard no_grad;
    step_loss_.add_(loss);
  });
}

StepRunner::~StepRunner() = default;

void StepRunner::run_micro_batches(const std::vector<data::Batch>& micro_batches, int64_t n_labels, double scale) {
  step_loss_.zero_();
  for (const auto& batch : micro_batches) {
    // The optimizer moves the gradients to their place after the first step.
    if (batch.n_labels() > 0) graphs_->run(batch, n_labels, scale, /*may_record_now=*/first_checked_);
  }
}

void StepRunner::step(const std::vector<data::Batch>& micro_batches, double learning_rate) {
  int64_t n_labels = 0;
  for (const auto& batch : micro_batches) n_labels += batch.n_labels();
  if (n_labels == 0) return;  // nothing to learn from: prompts alone

  const double scale = use_loss_scale_ ? loss_scale_.value : 1.0;
  RandomPosition before(model_->device());
  try {
    run_micro_batches(micro_batches, n_labels, scale);
  } catch (const c10::OutOfMemoryError&) {
    if (!graphs_->give_up()) throw;
    log::warning("out of GPU memory with CUDA graphs: training goes on without them");
    optimizer_.zero_gradients();
    before.restore();
    run_micro_batches(micro_batches, n_labels, scale);  // with the memory that the graphs held
  }
  if (!first_checked_) {
    check_first_gradients();
    first_checked_ = true;
  }

  const torch::NoGradGuard no_grad;
  last_norm_ = optimizer_.gradient_norm(scale);
  optimizer_.step(learning_rate, last_norm_, scale);
  if (use_loss_scale_) adapt_loss_scale(at::isfinite(last_norm_).item<bool>());

  // Counted on the device: (count + 1) after a bad step, 0 after a good one. With fp16 an overflowing gradient is the
  // scale's business.
  const at::Tensor bad =
      use_loss_scale_ ? at::isfinite(step_loss_).logical_not() : at::isfinite(step_loss_ + last_norm_).logical_not();
  consecutive_bad_ = (consecutive_bad_ + 1.0) * bad.to(at::kFloat);
  loss_sum_ = loss_sum_ + step_loss_.to(at::kFloat);
  ++steps_in_sum_;
}

bool StepRunner::give_up_graphs() { return graphs_->give_up(); }

size_t StepRunner::n_graphs() const { return graphs_->size(); }

void StepRunner::check_first_gradients() const {
  std::vector<std::string> problems;
  for (const auto& [name, parameter, lr_scale, weight_decay] : parameters_) {
    if (!parameter.grad().defined()) {
      problems.push_back(name + ": no gradient (it is not part of what the loss depends on)");
    } else if (!use_loss_scale_ && !at::isfinite(parameter.grad()).all().item<bool>()) {
      problems.push_back(name + ": the gradient is not finite");
    }
  }
  if (problems.empty()) return;
  constexpr size_t kShown = 8;
  const size_t n = problems.size();
  if (n > kShown) {
    problems.resize(kShown);
    problems.push_back(mpeft::str("and ", n - kShown, " more"));
  }
  throw TrainingStopped(mpeft::str("step 1: ", n, " trainable tensors would not train\n  ", join(problems, "\n  ")));
}

void StepRunner::adapt_loss_scale(bool is_finite) {
  constexpr int64_t kGrowthInterval = 2000;
  if (!is_finite) {
    loss_scale_ = {loss_scale_.value / 2, 0};
    if (loss_scale_.value < 1.0 / 1024) {
      throw TrainingStopped("fp16 gradients overflow at every loss scale: train with --prec bf16");
    }
  } else if (++loss_scale_.good_steps >= kGrowthInterval) {
    loss_scale_ = {loss_scale_.value * 2, 0};
  }
}

bool StepRunner::has_finite_loss() const { return at::isfinite(step_loss_).item<bool>(); }

bool StepRunner::has_finite_weights() const {
  const torch::NoGradGuard no_grad;
  std::vector<at::Tensor> finite;
  for (const auto& parameter : parameters_) finite.push_back(at::isfinite(parameter.tensor).all());
  return at::stack(finite).all().item<bool>();
}

StepStatistics StepRunner::take_statistics() {
  StepStatistics statistics;
  const at::Tensor values = at::stack({loss_sum_, consecutive_bad_, last_norm_.to(at::kFloat)}).cpu();  // one transfer
  const float* v = values.const_data_ptr<float>();
  statistics.loss = steps_in_sum_ > 0 ? v[0] / static_cast<double>(steps_in_sum_) : 0.0;
  statistics.consecutive_bad = static_cast<int64_t>(v[1]);
  statistics.gradient_norm = v[2];
  loss_sum_ = at::zeros_like(loss_sum_);
  steps_in_sum_ = 0;
  return statistics;
}

}  // namespace mpeft::train
