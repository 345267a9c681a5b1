#pragma once

#include <vector>

#include "mpeft/data/example.h"

namespace mpeft::data {

/// Puts examples into one batch, padded on the right with `pad_id` to the longest. Labels are shifted here: labels[i][t] is ids[i][t + 1] when that
/// token is part of the target (its end token included), else kIgnoreLabel.
Batch collate(const std::vector<const Example*>& examples, text::TokenId pad_id);

}  // namespace mpeft::data
