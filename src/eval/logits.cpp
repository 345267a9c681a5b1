#include "mpeft/eval/logits.h"

#include <algorithm>

#include "eval/eval_mode.h"
#include "eval/padded_ids.h"

namespace mpeft::eval {

std::vector<at::Tensor> compute_logits(model::MambaLM& model, const std::vector<IdList>& lists, int64_t batch_size) {
  check_ids(lists, model->config().vocab_size, "list");
  const EvalMode eval_mode(model);
  const auto order = order_by_length(lists);
  std::vector<at::Tensor> result(lists.size());
  const auto step = static_cast<size_t>(std::max<int64_t>(batch_size, 1));
  for (size_t begin = 0; begin < order.size(); begin += step) {
    const size_t end = std::min(begin + step, order.size());
    const std::vector<int64_t> rows(order.begin() + static_cast<int64_t>(begin),
                                    order.begin() + static_cast<int64_t>(end));
    const auto batch = pad_ids(lists, rows, model->device());
    const at::Tensor hidden = model->forward_hidden(batch.ids, batch.lengths);  // (rows, seqlen, d_model)
    for (size_t i = 0; i < rows.size(); ++i) {
      const auto length = static_cast<int64_t>(lists[rows[i]].size());
      // Row by row: the logits of a whole batch can be larger than everything else together.
      const at::Tensor row = hidden.select(0, static_cast<int64_t>(i)).narrow(0, 0, length);  // (length, d_model)
      result[rows[i]] = model->forward_head(row).to(at::kFloat).to(at::kCPU).contiguous();    // (length, vocab_size)
    }
  }
  return result;
}

}  // namespace mpeft::eval
