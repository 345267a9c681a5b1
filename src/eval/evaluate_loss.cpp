#include <algorithm>
#include <cmath>

#include <ATen/ops/empty.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/stack.h>

#include "kernels/cross_entropy/cross_entropy.h"
#include "mpeft/core/error.h"
#include "mpeft/eval/evaluator.h"

#include "eval/eval_mode.h"
#include "eval/padded_ids.h"

namespace mpeft::eval {
namespace {

// Rows of logits computed at once: enough for an efficient GEMM, and a bound on the memory of a large vocabulary.
constexpr int64_t kRowsAtOnce = 2048;

struct Labelled {
  std::vector<int64_t> positions;  ///< in (rows * seqlen)
  std::vector<int64_t> labels;
};

Labelled labelled_positions(const data::Batch& batch) {
  Labelled labelled;
  for (size_t i = 0; i < batch.labels.size(); ++i) {
    if (batch.labels[i] == data::kIgnoreLabel) continue;
    labelled.positions.push_back(static_cast<int64_t>(i));
    labelled.labels.push_back(batch.labels[i]);
  }
  return labelled;
}

at::Tensor lengths_tensor(const data::Batch& batch, at::Device device) {
  at::Tensor lengths = at::empty({batch.rows}, at::kInt);
  for (int64_t i = 0; i < batch.rows; ++i) {
    lengths.mutable_data_ptr<int32_t>()[i] = static_cast<int32_t>(batch.lengths[static_cast<size_t>(i)]);
  }
  return lengths.to(device);
}

}  // namespace

LossEvaluation evaluate_loss(model::MambaLM& model, const std::vector<data::Batch>& batches) {
  const EvalMode eval_mode(model);
  const auto device = model->device();
  double loss_sum = 0.0;
  double n_right = 0.0;
  LossEvaluation result;
  for (const auto& batch : batches) {
    const auto labelled = labelled_positions(batch);
    if (labelled.labels.empty()) continue;
    const at::Tensor ids = to_tensor(batch.ids, device).view({batch.rows, batch.seqlen});
    const at::Tensor hidden = model->forward_hidden(ids, lengths_tensor(batch, device)).flatten(0, 1);
    const at::Tensor positions = to_tensor(labelled.positions, device);
    const at::Tensor labels = to_tensor(labelled.labels, device);
    const int64_t n = positions.size(0);
    at::Tensor sums;  // (2) fp64: loss, right answers
    for (int64_t begin = 0; begin < n; begin += kRowsAtOnce) {
      const int64_t count = std::min(kRowsAtOnce, n - begin);
      const at::Tensor part = labels.narrow(0, begin, count);
      const at::Tensor logits = model->forward_head(at::index_select(hidden, 0, positions.narrow(0, begin, count)));
      const auto [losses, predicted] = ops::cross_entropy_and_prediction(logits, part);  // 2 x (count)
      const at::Tensor both = at::stack({losses.sum(at::kDouble), (predicted == part).sum(at::kDouble)});
      sums = sums.defined() ? sums + both : both;
    }
    const at::Tensor host = sums.to(at::kCPU);
    loss_sum += host.const_data_ptr<double>()[0];
    n_right += host.const_data_ptr<double>()[1];
    result.n_labels += n;
  }
  if (result.n_labels == 0) throw DataError("evaluation: no token carries loss");
  result.loss = loss_sum / static_cast<double>(result.n_labels);
  result.perplexity = std::exp(result.loss);
  result.token_accuracy = n_right / static_cast<double>(result.n_labels);
  return result;
}

}  // namespace mpeft::eval
