#include "peft/lora_export.h"

#include <algorithm>
#include <functional>
#include <map>

#include <ATen/ops/cat.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/zeros.h>

#include "mpeft/core/error.h"
#include "mpeft/core/strings.h"

namespace mpeft::peft {
namespace {

using nlohmann::json;

// What becomes one adapter of PEFT's: the adapters of one projection.
struct Fused {
  std::string path;  // of the projection
  std::string name;  // its last component
  int64_t rank = 0;
  double scale = 1.0;
  at::Tensor A, B, magnitude;  // fp32 on the CPU
};

at::Tensor on_cpu(const at::Tensor& t) { return t.detach().to(at::kCPU, at::kFloat); }

std::string parent_of(const std::string& path) {
  const auto dot = path.rfind('.');
  return dot == std::string::npos ? "" : path.substr(0, dot + 1);
}

// The name of the module that a slice belongs to: "in_proj_x" of "in_proj".
std::string whole_name(const AttachedLora& adapter) {
  if (!adapter.target.is_slice) return adapter.target.name;
  return adapter.target.name.substr(0, adapter.target.name.rfind('_'));
}

Fused fuse(const std::string& path, const std::string& name, const std::vector<const AttachedLora*>& parts) {
  Fused fused;
  fused.path = path;
  fused.name = name;
  const model::Projection& projection = parts[0]->target.projection;
  const int64_t n_rows = projection->options().out_features;
  // One scale where the parts agree, so that their values stay as they are; else each is multiplied into its B.
  const bool agree = std::all_of(parts.begin(), parts.end(),
                                 [&](const AttachedLora* p) { return p->shape.scale == parts[0]->shape.scale; });
  fused.scale = agree ? parts[0]->shape.scale : 1.0;
  std::vector<at::Tensor> A, B;
  for (const AttachedLora* part : parts) {
    const double factor = agree ? 1.0 : part->shape.scale;
    const auto append = [&](const at::Tensor& a, const at::Tensor& b, double sign) {
      A.push_back(a);
      at::Tensor columns = at::zeros({n_rows, b.size(1)});
      columns.narrow(0, part->shape.row_begin, part->shape.out_features).copy_(b * (sign * factor));
      B.push_back(columns);
      fused.rank += b.size(1);
    };
    append(on_cpu(part->module->lora_A), on_cpu(part->module->lora_B), 1.0);
    if (part->A0.defined()) append(part->A0, part->B0, -1.0);
  }
  fused.A = at::cat(A);     // (rank, in_features)
  fused.B = at::cat(B, 1);  // (n_rows, rank)
  if (parts[0]->shape.use_dora) {
    // Rows without an adapter keep their norm.
    fused.magnitude = at::linalg_vector_norm(on_cpu(projection->weight), 2, /*dim=*/1);
    for (const AttachedLora* part : parts) {
      fused.magnitude.narrow(0, part->shape.row_begin, part->shape.out_features)
          .copy_(on_cpu(part->module->lora_magnitude_vector));
    }
  }
  return fused;
}

// `key` of each module where it differs from `common`: under the module's name where all modules of that name agree,
// else under its path.
template <typename Value>
json pattern_of(const std::vector<Fused>& all, const Value& common, const std::function<Value(const Fused&)>& value) {
  json pattern = json::object();
  for (const auto& fused : all) {
    const bool uniform = std::all_of(all.begin(), all.end(), [&](const Fused& other) {
      return other.name != fused.name || value(other) == value(fused);
    });
    if (value(fused) != common) pattern[uniform ? fused.name : fused.path] = value(fused);
  }
  return pattern;
}

}  // namespace

std::optional<LoraParts> join_lora(std::vector<LoraParts> all) {
  LoraParts joined = all.at(0);
  for (size_t i = 1; i < all.size(); ++i) {
    auto& [config, adapters, other] = all[i];
    if (config.use_dora != joined.config.use_dora) return std::nullopt;
    if (config.lr_ratio != joined.config.lr_ratio) joined.config.lr_ratio = 1.0;  // of no effect on what is trained
    joined.adapters.insert(joined.adapters.end(), adapters.begin(), adapters.end());
    joined.other.insert(joined.other.end(), other.begin(), other.end());
    auto& modules = joined.config.modules_to_save;
    modules.insert(modules.end(), config.modules_to_save.begin(), config.modules_to_save.end());
  }
  // The name of a bias hangs on which adapter's targets its module is one of.
  for (const auto& part : all) {
    if (part.config.bias != "none") return std::nullopt;
  }
  return joined;
}

std::optional<checkpoint::AdapterFolder> export_lora(const LoraParts& lora, const std::string& base_model,
                                                     int64_t n_layer) {
  const torch::NoGradGuard no_grad;
  const auto& [config, adapters, other] = lora;
  if (std::any_of(adapters.begin(), adapters.end(), [](const auto& a) { return bool(a.target.conv); })) return {};
  std::vector<std::pair<std::string, std::vector<const AttachedLora*>>> groups;  // by projection, in order
  checkpoint::AdapterFolder result;
  std::map<std::string, int64_t> n_targets;  // by module name
  std::vector<std::string> paths;            // of every module that has an adapter
  for (const auto& adapter : adapters) {
    const std::string path = parent_of(adapter.target.path) + whole_name(adapter);
    auto group = std::find_if(groups.begin(), groups.end(), [&](const auto& item) { return item.first == path; });
    if (group == groups.end()) {
      group = groups.insert(group, {path, {}});
      ++n_targets[whole_name(adapter)];
      paths.push_back(path);
    }
    group->second.push_back(&adapter);
  }

  std::vector<Fused> all;
  for (const auto& [path, parts] : groups) {
    const std::string name = whole_name(*parts[0]), saved = "base_model.model." + path;
    if (parts[0]->target.embedding) {  // saved under PEFT's names already
      all.push_back({path, name, parts[0]->shape.rank, parts[0]->shape.scale, {}, {}, {}});
      continue;
    }
    Fused& fused = all.emplace_back(fuse(path, name, parts));
    result.tensors.emplace(saved + ".lora_A.weight", fused.A);
    result.tensors.emplace(saved + ".lora_B.weight", fused.B);
    if (fused.magnitude.defined()) result.tensors.emplace(saved + ".lora_magnitude_vector", fused.magnitude);
  }
  for (const auto& parameter : other) result.tensors.emplace(parameter.name, on_cpu(parameter.tensor));

  // Names where they stand for exactly these modules, else paths.
  std::vector<std::string> modules;
  for (size_t i = 0; i < all.size(); ++i) {
    const bool in_every_layer = n_targets.at(all[i].name) == n_layer || paths[i].find(".layers.") == std::string::npos;
    const std::string& name = in_every_layer ? all[i].name : paths[i];
    if (std::find(modules.begin(), modules.end(), name) == modules.end()) modules.push_back(name);
  }
  json object = config.to_json(base_model);
  const int64_t r = all[0].rank;
  const double alpha = all[0].scale * static_cast<double>(r);
  object["r"] = r;
  object["lora_alpha"] = alpha;
  object["use_rslora"] = false;  // its scale is in the alphas
  object["rank_pattern"] = pattern_of<int64_t>(all, r, [](const Fused& f) { return f.rank; });
  object["alpha_pattern"] =
      pattern_of<double>(all, alpha, [](const Fused& f) { return f.scale * static_cast<double>(f.rank); });
  object["target_modules"] = modules;
  object["exclude_modules"] = nullptr;
  object["layers_to_transform"] = nullptr;
  object["init_lora_weights"] = true;
  result.config_json = object.dump(2) + "\n";
  return result;
}

}  // namespace mpeft::peft
