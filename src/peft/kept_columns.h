#pragma once

#include <string>
#include <vector>

#include <torch/nn/module.h>

#include "mpeft/model/projection.h"

namespace mpeft::peft {

/// y[..., row_begin : row_begin + rows] += kept delta^T, in place, differentiable in y, kept and delta.
/// kept (..., k), y (..., out_features) contiguous, delta (rows, k), all of one dtype.
at::Tensor add_rows(at::Tensor y, const at::Tensor& kept, const at::Tensor& delta, int64_t row_begin);

/// Trains a few columns of a projection's named row slices: W[rows, columns] += delta. Forward and backward gather the
/// kept columns of the input and multiply by skinny matrices; nothing is computed for the other columns' change.
class KeptColumns : public torch::nn::Module, public model::ProjectionAdapter {
 public:
  /// `parts`: the slices, by rising row; one zero parameter (rows, k) each, under the slice's name. `columns`: rising.
  KeptColumns(const std::vector<model::RowSlice>& parts, const std::vector<int64_t>& columns,
              const model::ProjectionOptions& projection);

  at::Tensor forward(const at::Tensor& x, at::Tensor y) override;
  at::Tensor weight_delta() const override;

  /// The parameter of a slice, (rows, k).
  const at::Tensor& delta(const std::string& part) const;

 private:
  struct Part {
    model::RowSlice rows;
    at::Tensor delta;  // (rows, k)
  };
  // Slices that lie side by side (x_proj_B and x_proj_C) share one multiplication.
  struct Run {
    int64_t row_begin = 0;
    std::vector<size_t> parts;
  };

  std::vector<Part> parts_;
  std::vector<Run> runs_;
  at::Tensor columns_;  // (k) int64, a buffer
  int64_t in_features_, out_features_;
};

}  // namespace mpeft::peft
