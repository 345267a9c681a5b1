#include "mpeft/eval/token_filter.h"

#include <cmath>
#include <limits>

#include <ATen/ops/cumsum.h>
#include <ATen/ops/le.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/sort.h>
#include <ATen/ops/topk.h>
#include <ATen/ops/zeros_like.h>

#include "mpeft/core/error.h"
#include "mpeft/core/strings.h"

namespace mpeft::eval {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();

at::Tensor keep_top_k(const at::Tensor& logits, int64_t k) {
  const auto [values, indices] = at::topk(logits, std::min(k, logits.size(-1)), /*dim=*/-1);  // (rows, k), descending
  return logits.masked_fill(logits < values.narrow(-1, values.size(-1) - 1, 1), kNever);
}

at::Tensor keep_top_p(const at::Tensor& logits, double top_p) {
  const auto [sorted, order] = at::sort(logits, /*dim=*/-1, /*descending=*/false);  // (rows, vocab)
  // From the unlikeliest up: whatever together weighs no more than 1 - top_p goes.
  at::Tensor remove_sorted = at::le(at::cumsum(at::softmax(sorted, -1), -1), 1.0 - top_p);
  remove_sorted.select(-1, remove_sorted.size(-1) - 1).fill_(false);  // the likeliest always stays
  const at::Tensor remove = at::zeros_like(remove_sorted).scatter_(-1, order, remove_sorted);
  return logits.masked_fill(remove, kNever);
}

}  // namespace

void validate(const TokenFilter& filter) {
  if (!(filter.temperature > 0) || !std::isfinite(filter.temperature)) {
    throw ConfigError(str("temperature: expected a number above 0, got ", filter.temperature));
  }
  if (filter.top_k < 0) throw ConfigError(str("top_k: expected 0 (off) or more, got ", filter.top_k));
  if (!(filter.top_p > 0 && filter.top_p <= 1)) {
    throw ConfigError(str("top_p: expected a number above 0 and at most 1 (off), got ", filter.top_p));
  }
}

at::Tensor filter_logits(const at::Tensor& logits, const TokenFilter& filter) {
  at::Tensor kept = filter.temperature == 1.0 ? logits : logits / filter.temperature;
  if (filter.top_k > 0) kept = keep_top_k(kept, filter.top_k);
  if (filter.top_p < 1.0) kept = keep_top_p(kept, filter.top_p);
  return kept;
}

}  // namespace mpeft::eval
