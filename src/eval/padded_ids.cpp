#include "eval/padded_ids.h"

#include <algorithm>
#include <numeric>

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/zeros.h>

#include "mpeft/core/error.h"
#include "mpeft/core/strings.h"

namespace mpeft::eval {

PaddedIds pad_ids(const std::vector<IdList>& lists, const std::vector<int64_t>& rows, at::Device device) {
  int64_t seqlen = 0;
  for (const int64_t row : rows) seqlen = std::max(seqlen, static_cast<int64_t>(lists[row].size()));
  const auto n_rows = static_cast<int64_t>(rows.size());
  at::Tensor ids = at::zeros({n_rows, seqlen}, at::kLong);
  at::Tensor lengths = at::empty({n_rows}, at::kInt);
  for (int64_t i = 0; i < n_rows; ++i) {
    const IdList& list = lists[rows[i]];
    std::copy(list.begin(), list.end(), ids.mutable_data_ptr<int64_t>() + i * seqlen);
    lengths.mutable_data_ptr<int32_t>()[i] = static_cast<int32_t>(list.size());
  }
  return {ids.to(device), lengths.to(device)};
}

void check_ids(const std::vector<IdList>& lists, int64_t vocab_size, const char* what) {
  for (size_t i = 0; i < lists.size(); ++i) {
    if (lists[i].empty())
      throw DataError(str(what, " ", i + 1, ": is empty; a model needs at least one token to start from"));
    for (size_t t = 0; t < lists[i].size(); ++t) {
      const auto id = lists[i][t];
      if (id >= 0 && id < vocab_size) continue;
      throw DataError(str(what, " ", i + 1, ": token ", t + 1, ": id ", id, " is outside the model's vocabulary of ",
                          vocab_size, "; is this the model's own tokenizer?"));
    }
  }
}

std::vector<int64_t> order_by_length(const std::vector<IdList>& lists) {
  std::vector<int64_t> order(lists.size());
  std::iota(order.begin(), order.end(), int64_t{0});
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return lists[a].size() > lists[b].size(); });
  return order;
}

at::Tensor to_tensor(const std::vector<int64_t>& values, at::Device device) {
  at::Tensor tensor = at::empty({static_cast<int64_t>(values.size())}, at::kLong);
  std::copy(values.begin(), values.end(), tensor.mutable_data_ptr<int64_t>());
  return tensor.to(device);
}

}  // namespace mpeft::eval
