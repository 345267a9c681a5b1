#pragma once

#include <cstdint>

#include "mpeft/config/node.h"

namespace mpeft::config {

/// The `eval_gen:` section: how texts are generated for evaluation.
struct Generation {
  int64_t max_length = 1024;    ///< most new tokens (as in the Python prototype, whose name for it this is)
  int64_t max_new_tokens = 0;   ///< the same by its usual name; 0: max_length decides
  int64_t min_length = -1;      ///< least new tokens before the end token may come; -1 or 0: off
  int64_t num_beams = 5;        ///< 1: greedy or sampling
  double length_penalty = 1.0;  ///< beam scores are divided by length to this power
  int64_t top_k = 0;            ///< sample among the k most probable tokens; 0: all, 1: greedy
  double top_p = 1.0;           ///< sample among the most probable tokens that hold this mass
  double temperature = 1.0;     ///< logits are divided by it before sampling
  bool do_sample = false;       ///< sample instead of taking the most probable; on when top_k > 1, top_p or temperature
                                ///< are given and num_beams is 1

  bool operator==(const Generation&) const = default;
};

/// Reads the section; what is wrong or contradictory is a problem of `node`. Absent keys keep the values of `defaults`.
Generation make_generation(const Node& node, const Generation& defaults = {});

}  // namespace mpeft::config
