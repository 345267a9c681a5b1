#include "mpeft/peft/trainable_report.h"

#include <map>
#include <set>

#include "mpeft/core/strings.h"
#include "mpeft/peft/target.h"

namespace mpeft::peft {
namespace {

// "backbone.layers.12.mixer.in_proj.in_proj_x.lora_A" -> layer 12, "mixer.in_proj.in_proj_x.lora_A".
std::pair<int64_t, std::string> split_layer(const std::string& name) {
  constexpr std::string_view kPrefix = "backbone.layers.";
  if (!name.starts_with(kPrefix)) return {-1, name};
  const size_t dot = name.find('.', kPrefix.size());
  return {std::stoll(name.substr(kPrefix.size(), dot - kPrefix.size())), name.substr(dot + 1)};
}

// {0, 1, 2, 5} -> "0-2, 5".
std::string ranges(const std::set<int64_t>& layers) {
  std::vector<std::string> pieces;
  for (auto it = layers.begin(); it != layers.end();) {
    const int64_t first = *it;
    int64_t last = first;
    while (++it != layers.end() && *it == last + 1) last = *it;
    pieces.push_back(first == last ? mpeft::str(first) : mpeft::str(first, "-", last));
  }
  return join(pieces, ", ");
}

}  // namespace

std::vector<std::string> TrainableReport::coverage() const {
  struct Kind {
    std::set<int64_t> layers;
    std::vector<int64_t> shape;
    int64_t count = 0;
  };
  std::map<std::string, Kind> kinds;
  for (const auto& row : trainable) {
    const auto [layer, rest] = split_layer(row.name);
    auto& kind = kinds[rest + " [" + [&] {
      std::vector<std::string> sizes;
      for (const auto size : row.shape) sizes.push_back(mpeft::str(size));
      return join(sizes, ", ");
    }() + "]"];
    if (layer >= 0) kind.layers.insert(layer);
    kind.count += row.count;
  }
  std::vector<std::string> lines;
  for (const auto& [name, kind] : kinds) {
    lines.push_back(mpeft::str(kind.layers.empty() ? "" : mpeft::str("layers ", ranges(kind.layers), "  "), name, "  ",
                               with_thousands(kind.count)));
  }
  return lines;
}

TrainableReport report_trainable(model::MambaLM& model) {
  TrainableReport report;
  for (const auto& target : list_targets(model)) {
    if (target.projection && !target.is_slice) report.n_total -= target.projection->n_replaced();
  }
  for (const auto& item : model->named_parameters()) {
    const at::Tensor& parameter = item.value();
    report.n_total += parameter.numel();
    if (!parameter.requires_grad()) continue;
    report.n_trainable += parameter.numel();
    report.trainable.push_back({item.key(), parameter.sizes().vec(), parameter.numel()});
  }
  return report;
}

}  // namespace mpeft::peft
