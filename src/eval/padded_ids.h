#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

#include "mpeft/text/tokenizer.h"

namespace mpeft::eval {

using IdList = std::vector<text::TokenId>;

/// Lists of ids as one batch on a device.
struct PaddedIds {
  at::Tensor ids;      ///< (rows, seqlen) int64, 0 behind each list's end
  at::Tensor lengths;  ///< (rows) int32
};

/// The lists that `rows` names, right-padded to the longest of them.
PaddedIds pad_ids(const std::vector<IdList>& lists, const std::vector<int64_t>& rows, at::Device device);

/// Throws DataError for an empty list or an id outside [0, vocab_size): an index out of range is undefined on a GPU.
/// `what` names a list in the message: "prompt".
void check_ids(const std::vector<IdList>& lists, int64_t vocab_size, const char* what);

/// Indices of the lists from the longest to the shortest (ties in order), so that neighbours need little padding.
std::vector<int64_t> order_by_length(const std::vector<IdList>& lists);

/// A vector as a tensor on `device`; from pageable memory, so the vector may go at once.
at::Tensor to_tensor(const std::vector<int64_t>& values, at::Device device);

}  // namespace mpeft::eval
