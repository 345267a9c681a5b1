#pragma once

#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include <torch/nn/module.h>
#include <torch/nn/pimpl.h>

namespace mpeft::model {

/// Rows [begin, end) of a projection's weight that have a name of their own (`in_proj_x` of `in_proj`).
struct RowSlice {
  std::string name;
  int64_t begin = 0;
  int64_t end = 0;
};

/// What a PEFT method puts on a projection. The projection computes its one GEMM and hands the result on.
class ProjectionAdapter {
 public:
  virtual ~ProjectionAdapter() = default;

  /// Returns y with the adapter's part added, where y = x W^T (+ b). May write into y.
  /// x (..., in_features), y (..., out_features).
  virtual at::Tensor forward(const at::Tensor& x, at::Tensor y) = 0;

  /// What merging adds to the weight, fp32 (out_features, in_features). Throws Error when the method does not merge.
  virtual at::Tensor weight_delta() const = 0;
};

struct ProjectionOptions {
  ProjectionOptions(int64_t in_features, int64_t out_features) : in_features(in_features), out_features(out_features) {}
  int64_t in_features;
  int64_t out_features;
  bool has_bias = false;
  bool defer_bias =
      false;  ///< the bias is a parameter but is added by somebody else (dt_proj: inside the scan, in fp32)
  std::vector<RowSlice> slices;  ///< named parts of the rows, without overlap
};

/// y = x W^T + b as one GEMM over all named slices, plus the adapters attached to it.
class ProjectionImpl : public torch::nn::Module {
 public:
  explicit ProjectionImpl(const ProjectionOptions& options);

  /// x (..., in_features) -> (..., out_features), in x's dtype (the weight is cast when it is kept in another).
  at::Tensor forward(const at::Tensor& x);

  /// forward(x), and beside it x rows^T (..., n) for rows (n, in_features) that belong to an adapter: one GEMM where
  /// the weight is frozen and no adapter of the projection changes its output.
  std::tuple<at::Tensor, at::Tensor> forward_with_rows(const at::Tensor& x, const at::Tensor& rows);

  /// forward(x) for a few rows (rows, in_features) that are read once each, without gradients: reads the weight at the
  /// speed of the memory.
  at::Tensor step(const at::Tensor& x);

  /// True when x W^T in `dtype` is all that forward computes: no adapter, no thawed rows, no bias, no cast.
  bool is_plain(at::ScalarType dtype) const;

  /// Adds an adapter on `target`: this projection's own name or one of its slices. `module` holds the adapter's
  /// parameters and becomes the child `target`. Throws ConfigError when the target has an adapter already.
  void attach(const std::string& target, std::shared_ptr<ProjectionAdapter> adapter,
              std::shared_ptr<torch::nn::Module> module);

  /// Makes the rows of `slice` trainable: as the parameter `weight` (rows, in_features) of the child `slice`, which
  /// takes the place of those rows of this module's own `weight`. Still one GEMM; backward computes the gradient of
  /// these rows alone. Returns the parameter. Throws ConfigError for a slice that is not there or that has an adapter.
  at::Tensor thaw_rows(const std::string& slice);

  /// How many values of `weight` thaw_rows has put others in the place of.
  int64_t n_replaced() const;

  /// Puts trained rows and each adapter's weight_delta into the weight and removes them.
  void merge_adapters();

  /// The rows that `target` names: a slice, or all rows for any other name.
  RowSlice rows(const std::string& target) const;

  /// Replaces the weight by one with other rows, and the names of its slices. Throws ConfigError while adapters are
  /// attached.
  void set_rows(const at::Tensor& new_weight, std::vector<RowSlice> slices);

  /// Uses another module's weight (a tied head); this module then has no parameter `weight` of its own.
  void tie(const at::Tensor& shared_weight);

  const ProjectionOptions& options() const { return options_; }

  at::Tensor weight;  ///< (out_features, in_features)
  at::Tensor bias;    ///< (out_features), undefined without bias

 private:
  at::Tensor trained_rows(at::ScalarType dtype) const;
  void reject_attached(const std::string& target) const;

  ProjectionOptions options_;
  std::vector<std::pair<std::string, std::shared_ptr<ProjectionAdapter>>> adapters_;
  std::vector<RowSlice> thawed_;         // sorted by their rows
  std::vector<at::Tensor> thawed_rows_;  // the parameter of each
};
TORCH_MODULE(Projection);

}  // namespace mpeft::model
