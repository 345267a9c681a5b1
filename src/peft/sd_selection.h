#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>
#include <nlohmann/json.hpp>

namespace mpeft::peft {

/// The channels of one layer that SDT trains, and the states of each: index lists, all rising and without repetition.
struct LayerSelection {
  int64_t layer = 0;
  std::vector<int64_t> channels;             ///< k of d_inner
  std::vector<std::vector<int64_t>> states;  ///< for each kept channel, s of d_state
  bool operator==(const LayerSelection&) const = default;
};

/// How much each entry of A moved during the warm-up; what is kept is what moved most.
struct SelectionScores {
  at::Tensor channel;  ///< (d_inner)
  at::Tensor state;    ///< (d_inner, d_state)
};

/// The published code's measure: squared displacement of A_log, summed over the states for a channel.
/// delta (d_inner, d_state), on any device; the scores are fp64 on the CPU.
SelectionScores a_log_delta_scores(const at::Tensor& delta);

/// The paper's measure (arXiv 2410.09016, Algorithm 1): the change of the discretised A, exp(-dt exp(A_log)); for a
/// channel the change of its norm over the states. dt is the step size at a zero input, softplus(dt_proj.bias).
/// A_log, A_log_before (d_inner, d_state); dt_bias, dt_bias_before (d_inner).
SelectionScores abar_delta_scores(const at::Tensor& A_log_before, const at::Tensor& dt_bias_before,
                                  const at::Tensor& A_log, const at::Tensor& dt_bias);

/// The n_channels channels of the highest score, and in each the n_states states of the highest score. Among equal
/// scores the lower index wins, so the result hangs on the values alone. Throws TrainingStopped, starting with
/// `where`, when a score is not finite.
LayerSelection select_entries(const SelectionScores& scores, int64_t n_channels, int64_t n_states,
                              const std::string& where);

/// How many of `dim` are kept when `frozen` are not: a count when `is_fraction` is false, else round(fraction * dim)
/// with halves to even, as Python rounds. At least one is kept.
int64_t n_kept(double frozen, bool is_fraction, int64_t dim);

/// The index lists as JSON: [{"layer", "channels", "states"}, …].
nlohmann::json to_json(const std::vector<LayerSelection>& selection);

/// Reads what to_json wrote, from a file of unknown origin: every list rising and inside the model's sizes,
/// `n_channels` channels and `n_states` states each, the layers those of `layers`. Throws ConfigError, starting with
/// `where`.
std::vector<LayerSelection> selection_from_json(const nlohmann::json& lists, const std::vector<int64_t>& layers,
                                                int64_t d_inner, int64_t d_state, int64_t n_channels, int64_t n_states,
                                                const std::string& where);

}  // namespace mpeft::peft
