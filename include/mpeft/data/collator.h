#pragma once

#include <vector>

#include "mpeft/data/example.h"

namespace mpeft::data {

/// Pads `rows` on the right with `pad_id` to the longest of them. labels[i][t] is ids[i][t + 1] where that token
/// belongs to the target (the end token included), kIgnoreLabel on the prompt and on padding: the loss needs no shift.
/// Which positions are padding follows from lengths, never from the id. Throws std::logic_error for no rows or an empty
/// one.
Batch collate(const std::vector<const Example*>& rows, text::TokenId pad_id);

}  // namespace mpeft::data
