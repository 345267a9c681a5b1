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

  /// Adds an adapter on `target`: this projection's own name or one of its slices. `module` holds the adapter's
  /// parameters and becomes the child `target`. Throws ConfigError when the target has an adapter already.
  void attach(const std::string& target, std::shared_ptr<ProjectionAdapter> adapter,
              std::shared_ptr<torch::nn::Module> module);

  /// Adds each adapter's weight_delta to the weight and removes the adapters.
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
  ProjectionOptions options_;
  std::vector<std::pair<std::string, std::shared_ptr<ProjectionAdapter>>> adapters_;
};
TORCH_MODULE(Projection);

}  // namespace mpeft::model
