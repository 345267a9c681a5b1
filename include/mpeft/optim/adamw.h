#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "mpeft/checkpoint/tensor_map.h"

namespace mpeft::optim {

struct AdamWOptions {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0.0;
  double max_grad_norm = 1.0;  ///< gradients are scaled down to this global norm; 0: no clipping
};

/// A tensor that is trained, and how it differs from the others.
struct TrainedParameter {
  std::string name;
  at::Tensor tensor;         ///< a leaf that requires a gradient
  double lr_scale = 1.0;     ///< times the learning rate of the step
  bool weight_decay = true;  ///< false: none, whatever AdamWOptions says
};

/// AdamW (Loshchilov and Hutter 2019) over flat buffers: the parameters of one dtype become views of one contiguous
/// buffer, and so do their gradients, so that clipping and zeroing are a handful of kernels whatever the number of
/// tensors; the update is one kernel for each combination of lr_scale and weight_decay. Nothing here waits for the
/// device.
class AdamW {
 public:
  /// `parameters`: on one device. Their data moves into the flat buffers.
  AdamW(std::vector<TrainedParameter> parameters, const AdamWOptions& options);

  /// Gathers the gradients that the first backward made into the flat buffers, where later ones are added up. Tensors
  /// without a gradient get zeros. Called by the first step() as well.
  void bind_gradients();

  /// Global norm of the gradients before clipping, divided by `loss_scale`; a 0-dim fp32 tensor on the device.
  at::Tensor gradient_norm(double loss_scale = 1.0);

  /// Clips to max_grad_norm, given `norm` from gradient_norm, updates with `learning_rate` times each parameter's
  /// lr_scale, zeroes the gradients.
  /// Gradients count as multiplied by `loss_scale`. A not-finite norm leaves parameters and moments as they are.
  void step(double learning_rate, const at::Tensor& norm, double loss_scale = 1.0);

  /// Zeroes the gradients without a step.
  void zero_gradients();

  /// Moments by parameter name ("exp_avg.NAME", "exp_avg_sq.NAME") and the step count, for checkpoints.
  checkpoint::TensorMap state() const;
  /// Restores what state() gave. Throws CheckpointError naming a missing or mis-shaped tensor.
  void load_state(const checkpoint::TensorMap& state);

  int64_t n_parameters() const;

 private:
  struct Entry {
    std::string name;
    at::Tensor parameter;
    int64_t begin = 0;  // first element in the buffers
  };
  struct Segment {  // neighbours in the buffers with one learning rate and one weight decay
    double lr_scale = 1.0;
    bool weight_decay = true;
    int64_t begin = 0, end = 0;
  };
  struct Group {  // one dtype
    std::vector<Entry> entries;
    std::vector<Segment> segments;
    at::Tensor data, gradient, exp_avg, exp_avg_sq;  // (n), flat
    at::Tensor step;                                 // 0-dim fp32, on the device
  };

  std::vector<Group> groups_;
  AdamWOptions options_;
  bool bound_ = false;
};

}  // namespace mpeft::optim
