#include "peft/sd_selection.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include <ATen/ops/exp.h>
#include <ATen/ops/softplus.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

#include "mpeft/core/check.h"
#include "mpeft/core/error.h"
#include "mpeft/core/strings.h"

namespace mpeft::peft {
namespace {

using nlohmann::json;

// On the CPU in fp64: the choice must not hang on the device that trained.
at::Tensor exact(const at::Tensor& t) { return t.detach().to(at::kCPU, at::kDouble).contiguous(); }

// Indices of the n highest of `size` values, rising.
std::vector<int64_t> highest(const double* values, int64_t size, int64_t n) {
  std::vector<int64_t> order(static_cast<size_t>(size));
  std::iota(order.begin(), order.end(), int64_t{0});
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return values[a] > values[b]; });
  order.resize(static_cast<size_t>(n));
  std::sort(order.begin(), order.end());
  return order;
}

void check_finite(const at::Tensor& scores, const std::string& where) {
  const double* values = scores.const_data_ptr<double>();
  if (std::all_of(values, values + scores.numel(), [](double v) { return std::isfinite(v); })) return;
  throw TrainingStopped(mpeft::str(where,
                                   ": A_log is not finite after the warm-up, so nothing can be selected\n"
                                   "  try a smaller --set learning_rate=…, or --prec bf16 or fp32"));
}

std::vector<int64_t> read_indices(const json& list, int64_t dim, int64_t n, const std::string& where) {
  if (!list.is_array() || static_cast<int64_t>(list.size()) != n) {
    throw ConfigError(mpeft::str(where, ": expected a list of ", n, " indices, got ",
                                 list.is_array() ? mpeft::str(list.size()) : std::string(list.type_name())));
  }
  std::vector<int64_t> indices;
  indices.reserve(list.size());
  for (const auto& item : list) {
    const bool is_index = item.is_number_unsigned() && item.get<uint64_t>() < static_cast<uint64_t>(dim);
    if (!is_index || (!indices.empty() && item.get<int64_t>() <= indices.back())) {
      throw ConfigError(mpeft::str(where, ": expected rising indices from 0 to ", dim - 1, ", got ", item.dump(),
                                   indices.empty() ? "" : mpeft::str(" after ", indices.back())));
    }
    indices.push_back(item.get<int64_t>());
  }
  return indices;
}

}  // namespace

SelectionScores a_log_delta_scores(const at::Tensor& delta) {
  const at::Tensor squares = exact(delta).square();
  return {squares.sum(1), squares};
}

SelectionScores abar_delta_scores(const at::Tensor& A_log_before, const at::Tensor& dt_bias_before,
                                  const at::Tensor& A_log, const at::Tensor& dt_bias) {
  const auto abar = [](const at::Tensor& log, const at::Tensor& bias) {
    return at::exp(-at::softplus(exact(bias)).unsqueeze(1) * at::exp(exact(log)));  // (d_inner, d_state)
  };
  const at::Tensor before = abar(A_log_before, dt_bias_before), after = abar(A_log, dt_bias);
  return {(after.norm(2, 1) - before.norm(2, 1)).abs(), (after - before).abs()};
}

LayerSelection select_entries(const SelectionScores& scores, int64_t n_channels, int64_t n_states,
                              const std::string& where) {
  const int64_t d_inner = scores.state.size(0), d_state = scores.state.size(1);
  MPEFT_ASSERT(n_channels >= 1 && n_channels <= d_inner && n_states >= 1 && n_states <= d_state,
               "the selection is larger than A_log");
  const at::Tensor channel = exact(scores.channel), state = exact(scores.state);
  check_finite(channel, where);
  check_finite(state, where);
  LayerSelection selection;
  selection.channels = highest(channel.const_data_ptr<double>(), d_inner, n_channels);
  for (const int64_t c : selection.channels) {
    selection.states.push_back(highest(state.const_data_ptr<double>() + c * d_state, d_state, n_states));
  }
  return selection;
}

int64_t n_kept(double frozen, bool is_fraction, int64_t dim) {
  const double n_frozen = is_fraction ? std::nearbyint(frozen * static_cast<double>(dim)) : frozen;
  return std::clamp(dim - static_cast<int64_t>(n_frozen), int64_t{1}, dim);
}

json to_json(const std::vector<LayerSelection>& selection) {
  json lists = json::array();
  for (const auto& layer : selection) {
    lists.push_back({{"layer", layer.layer}, {"channels", layer.channels}, {"states", layer.states}});
  }
  return lists;
}

std::vector<LayerSelection> selection_from_json(const json& lists, const std::vector<int64_t>& layers, int64_t d_inner,
                                                int64_t d_state, int64_t n_channels, int64_t n_states,
                                                const std::string& where) {
  if (!lists.is_array() || lists.size() != layers.size()) {
    throw ConfigError(mpeft::str(where, ": expected the index lists of ", layers.size(), " layers, got ",
                                 lists.is_array() ? mpeft::str(lists.size()) : std::string(lists.type_name())));
  }
  std::vector<LayerSelection> selection;
  for (size_t i = 0; i < layers.size(); ++i) {
    const std::string place = mpeft::str(where, "[", i, "]");
    const json& entry = lists[i];
    if (!entry.is_object() || entry.size() != 3 || !entry.contains("layer") || !entry.contains("channels") ||
        !entry.contains("states")) {
      throw ConfigError(place + ": expected an object of \"layer\", \"channels\" and \"states\"");
    }
    if (!entry["layer"].is_number_integer() || entry["layer"] != layers[i]) {
      throw ConfigError(mpeft::str(place, ".layer: expected ", layers[i], ", got ", entry["layer"].dump()));
    }
    LayerSelection layer;
    layer.layer = layers[i];
    layer.channels = read_indices(entry["channels"], d_inner, n_channels, place + ".channels");
    const json& states = entry["states"];
    if (!states.is_array() || states.size() != layer.channels.size()) {
      throw ConfigError(mpeft::str(place, ".states: expected a list for each of the ", n_channels, " channels"));
    }
    for (size_t c = 0; c < states.size(); ++c) {
      layer.states.push_back(read_indices(states[c], d_state, n_states, mpeft::str(place, ".states[", c, "]")));
    }
    selection.push_back(std::move(layer));
  }
  return selection;
}

}  // namespace mpeft::peft
