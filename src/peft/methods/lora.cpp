#include <algorithm>
#include <cmath>
#include <map>

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/ops/mm.h>

#include "mpeft/core/error.h"
#include "mpeft/core/random.h"
#include "mpeft/core/strings.h"
#include "mpeft/peft/target.h"

#include "peft/lora_config.h"
#include "peft/lora_export.h"
#include "peft/lora_init.h"
#include "peft/lora_modules.h"
#include "peft/method_config.h"
#include "peft/suggest.h"

namespace mpeft::peft {
namespace {

class Lora : public PeftMethod, public LoraPartsOwner {
 public:
  Lora(LoraConfig config, std::string where) : config_(std::move(config)), where_(std::move(where)) {}

  std::string type() const override { return "LORA"; }
  std::vector<NamedParameter> parameters() const override { return parameters_; }
  bool is_identity_at_start() const override { return config_.init != LoraConfig::Init::kRandom; }

  void inject(model::MambaLM& model, uint64_t seed) override { add_all(model, seed, /*with_values=*/true); }
  void inject_shapes(model::MambaLM& model) override { add_all(model, /*seed=*/0, /*with_values=*/false); }

  std::string config_json(const std::string& base_model) const override {
    return config_.to_json(base_model).dump(2) + "\n";
  }

  std::string merge_obstacle(const model::MambaLM& model) const override {
    for (const auto& adapter : adapters_) {
      const bool on_shared = adapter.target.embedding || adapter.target.name == "lm_head";
      if (on_shared && model->config().tie_embeddings) {
        return "embedding and lm_head share one weight in this model, so an adapter on one of them cannot be merged";
      }
    }
    return "";
  }

  void merge(model::MambaLM& model) override {
    if (const auto obstacle = merge_obstacle(model); !obstacle.empty()) throw ConfigError(where_ + ": " + obstacle);
    for (auto& target : list_targets(model)) {
      if (target.embedding) {
        target.embedding->merge_adapters();
      } else if (target.conv) {
        target.conv->merge_adapters();
      } else if (!target.is_slice) {
        target.projection->merge_adapters();
      }
    }
    for (auto& parameter : parameters_) parameter.tensor.set_requires_grad(false);  // biases and whole modules stay
    parameters_.clear();
    adapters_.clear();
  }

  std::optional<checkpoint::AdapterFolder> to_peft(model::MambaLM& model,
                                                   const std::string& base_model) const override {
    return export_lora(lora_parts(), base_model, model->config().n_layer);
  }

  LoraParts lora_parts() const override {
    std::vector<NamedParameter> other;
    for (const auto& parameter : parameters_) {
      const bool is_projections = std::any_of(adapters_.begin(), adapters_.end(), [&](const AttachedLora& adapter) {
        return adapter.module &&
               (parameter.tensor.is_same(adapter.module->lora_A) || parameter.tensor.is_same(adapter.module->lora_B) ||
                parameter.tensor.is_same(adapter.module->lora_magnitude_vector));
      });
      if (!is_projections) other.push_back(parameter);
    }
    return {config_, adapters_, other};
  }

 private:
  void add_all(model::MambaLM& model, uint64_t seed, bool with_values) {
    const auto targets = select_targets(model, config_.targets, where_);
    std::vector<std::string> paths;
    for (const auto& target : targets) paths.push_back(target.path);
    config_.check_patterns(paths, where_);
    for (const auto& target : targets) add_adapter(model, target, seed, with_values);
    compute_slices_together();
    thaw_biases(model, targets);
    thaw_saved_modules(model);
  }

  LoraShape shape_of(const Target& target) const {
    LoraShape shape;
    shape.in_features = target.in_features;
    shape.out_features = target.out_features;
    shape.rank = config_.rank_of(target.path, where_);
    const double alpha = config_.alpha_of(target.path, where_);
    const auto rank = static_cast<double>(shape.rank);
    shape.scale = config_.use_rslora ? alpha / std::sqrt(rank) : alpha / rank;
    shape.dropout = config_.lora_dropout;
    shape.use_dora = config_.use_dora;
    if (target.is_slice) shape.row_begin = target.projection->rows(target.name).begin;
    return shape;
  }

  void add_adapter(model::MambaLM& model, const Target& target, uint64_t seed, bool with_values) {
    const torch::NoGradGuard no_grad;
    AttachedLora adapter{target, shape_of(target), nullptr, {}, {}};
    const auto generator = at::detail::createCPUGenerator(derive_seed(seed, "lora:" + target.path));
    if (target.embedding) {
      add_embedding(adapter.shape, target, generator, with_values);
    } else if (target.conv) {
      add_conv(adapter.shape, target, generator, with_values);
    } else {
      add_projection(model, adapter, generator, with_values);
    }
    adapters_.push_back(std::move(adapter));
  }

  void add_projection(model::MambaLM& model, AttachedLora& adapter, const at::Generator& generator, bool with_values) {
    const Target& target = adapter.target;
    model::Projection projection(target.projection);
    auto module = std::make_shared<LoraProjection>(adapter.shape, projection.get());
    if (config_.init == LoraConfig::Init::kPissa) {
      check_pissa(model, adapter);
      if (with_values) take_principal_components(adapter, *module);
    } else {
      init_lora_A(module->lora_A, config_.init, generator);
      init_lora_B(module->lora_B, config_.init, generator);
    }
    if (config_.use_dora && with_values) module->lora_magnitude_vector.copy_(module->row_norms());
    list(target, "lora_A.weight", module->lora_A, "lora_B.weight", module->lora_B, module->lora_magnitude_vector);
    projection->attach(target.name, module, module);
    adapter.module = std::move(module);
  }

  void compute_slices_together() {
    if (config_.use_dora) return;
    std::map<const model::ProjectionImpl*, std::vector<LoraProjection*>> of_projection;
    for (const auto& adapter : adapters_) {
      if (adapter.module) of_projection[adapter.target.projection.get()].push_back(adapter.module.get());
    }
    for (auto& [projection, modules] : of_projection) {
      modules.front()->lead({modules.begin() + 1, modules.end()});
    }
  }

  // PEFT's rule: the embedding knows only this initialisation and `false`.
  void add_embedding(const LoraShape& shape, const Target& target, const at::Generator& generator, bool with_values) {
    model::Embedding embedding(target.embedding);
    auto module = std::make_shared<LoraEmbedding>(shape, embedding.get());
    if (config_.init == LoraConfig::Init::kRandom) module->lora_embedding_A.normal_(0, 1, generator);
    module->lora_embedding_B.normal_(0, 1, generator);
    if (config_.use_dora && with_values) module->lora_magnitude_vector.copy_(module->column_norms());
    list(target, "lora_embedding_A", module->lora_embedding_A, "lora_embedding_B", module->lora_embedding_B,
         module->lora_magnitude_vector);
    embedding->attach(module, module);
  }

  void add_conv(const LoraShape& shape, const Target& target, const at::Generator& generator, bool with_values) {
    auto module = std::make_shared<LoraConv>(shape);
    init_lora_A(module->lora_A, config_.init, generator);
    init_lora_B(module->lora_B, config_.init, generator);
    model::Conv1d conv(target.conv);
    if (config_.use_dora && with_values) {
      const at::Tensor weight = conv->kernel(at::kFloat) + at::mm(module->lora_B, module->lora_A) * shape.scale;
      module->lora_magnitude_vector.copy_(weight.norm(2, /*dim=*/1));
    }
    list(target, "lora_A.weight", module->lora_A, "lora_B.weight", module->lora_B, module->lora_magnitude_vector);
    conv->attach(module, module);
  }

  void list(const Target& target, const std::string& name_A, const at::Tensor& A, const std::string& name_B,
            const at::Tensor& B, const at::Tensor& magnitude) {
    const std::string saved = "base_model.model." + target.path + ".";
    parameters_.push_back({saved + name_A, A, target.path});
    parameters_.push_back({saved + name_B, B, target.path, config_.lr_ratio});
    if (magnitude.defined()) parameters_.push_back({saved + "lora_magnitude_vector", magnitude, target.path});
  }

  void check_pissa(const model::MambaLM& model, const AttachedLora& adapter) const {
    const auto& target = adapter.target;
    const int64_t most = std::min(target.in_features, target.out_features);
    if (adapter.shape.rank > most) {
      throw ConfigError(mpeft::str(where_, ": init_lora_weights: PiSSA of rank ", adapter.shape.rank, " on ",
                                   target.path, ", which has ", most,
                                   " principal components: lower r, or give it a rank_pattern"));
    }
    if (adapter.shape.scale <= 0) {
      throw ConfigError(where_ + ": init_lora_weights: PiSSA needs a positive lora_alpha: its adapter is not zero");
    }
    if (target.name == "lm_head" && model->config().tie_embeddings) {
      throw ConfigError(where_ +
                        ": init_lora_weights: PiSSA takes components out of the weight, and lm_head shares its weight "
                        "with the embedding in this model");
    }
  }

  // The base keeps the residual, in fp32. The adapter is saved as it is, as PEFT does: loading decomposes the base
  // again. That needs the same decomposition, so the seed of the approximate one is not the run's.
  void take_principal_components(AttachedLora& adapter, LoraProjection& module) const {
    model::Projection projection(adapter.target.projection);
    const auto& shape = adapter.shape;
    at::Tensor weight = projection->weight.to(at::kFloat, /*non_blocking=*/false, /*copy=*/true);
    at::Tensor rows = weight.narrow(0, shape.row_begin, shape.out_features);
    const auto generator = at::detail::createCPUGenerator(derive_seed(0, "pissa:" + adapter.target.path));
    std::tie(adapter.A0, adapter.B0) =
        principal_components(rows, shape.rank, shape.scale, config_.pissa_niter, generator);
    rows.sub_(at::mm(adapter.B0, adapter.A0).mul_(shape.scale));
    projection->weight.set_data(weight);
    module.lora_A.copy_(adapter.A0);
    module.lora_B.copy_(adapter.B0);
  }

  // Biases train in place. PEFT wraps targeted modules, which moves their bias one level down.
  void thaw_biases(model::MambaLM& model, const std::vector<Target>& targets) {
    if (config_.bias == "none") return;
    const auto is_target = [&](const model::Projection& p) {
      return std::any_of(targets.begin(), targets.end(),
                         [&](const Target& t) { return t.projection && t.projection.ptr() == p.ptr(); });
    };
    const auto thaw = [&](const std::string& path, const model::Projection& projection) {
      if (!projection->bias.defined()) return;
      const bool targeted = is_target(projection);
      if (config_.bias == "lora_only" && !targeted) return;
      at::Tensor bias = projection->bias;
      bias.set_requires_grad(true);
      parameters_.push_back(
          {"base_model.model." + path + (targeted ? ".base_layer.bias" : ".bias"), bias, path + ".bias"});
    };
    for (size_t i = 0; i < model->backbone->layers.size(); ++i) {
      auto& mixer = *model->backbone->layers[i]->mixer;
      const std::string parent = mpeft::str("backbone.layers.", i, ".mixer.");
      thaw(parent + "in_proj", mixer.in_proj);
      thaw(parent + "dt_proj", mixer.dt_proj);
      thaw(parent + "out_proj", mixer.out_proj);
      const bool has_conv_adapter =
          std::any_of(targets.begin(), targets.end(), [&](const Target& t) { return t.path == parent + "conv1d"; });
      if ((config_.bias == "all" || has_conv_adapter) && mixer.conv1d->bias.defined()) {
        mixer.conv1d->bias.set_requires_grad(true);
        parameters_.push_back(
            {"base_model.model." + parent + "conv1d.bias", mixer.conv1d->bias, parent + "conv1d.bias"});
      }
    }
  }

  void thaw_saved_modules(model::MambaLM& model) {
    for (const auto& name : config_.modules_to_save) {
      bool matched = false;
      std::vector<std::string> modules;
      for (auto& item : model->named_parameters()) {
        const std::string module_path = item.key().substr(0, item.key().rfind('.'));
        if (module_path.find(".layers.") == std::string::npos) modules.insert(modules.begin(), module_path);
        modules.push_back(module_path);
        if (module_path != name && !module_path.ends_with("." + name)) continue;
        matched = true;
        item.value().set_requires_grad(true);
        parameters_.push_back({"base_model.model." + item.key(), item.value(),
                               item.key().ends_with(".weight") ? module_path : item.key()});
      }
      if (!matched) {
        const bool tied = name == "lm_head" && model->config().tie_embeddings;
        throw ConfigError(
            mpeft::str(where_, ": modules_to_save: '", name, "' ",
                       tied ? "is tied to the embedding in this model: name 'embeddings'"
                            : "matches no module with parameters" + suggest(name, ends_like(name, modules))));
      }
    }
  }

  LoraConfig config_;
  std::string where_;
  std::vector<NamedParameter> parameters_;
  std::vector<AttachedLora> adapters_;
};

}  // namespace

std::vector<std::string> make_lora_examples() {
  return {R"({"peft_type": "LORA", "r": 2, "lora_alpha": 4, "lora_dropout": 0.1, "bias": "all",
              "target_modules": ["in_proj_x", "x_proj_B", "x_proj_dt", "dt_proj", "out_proj", "embeddings"]})",
          R"({"peft_type": "LORA", "r": 3, "lora_alpha": 3, "use_rslora": true, "init_lora_weights": false,
              "target_modules": "all-linear", "modules_to_save": ["norm_f"]})",
          R"({"peft_type": "LORA", "r": 2, "lora_alpha": 2, "loraplus_lr_ratio": 16, "init_lora_weights": "gaussian",
              "target_modules": ["conv1d", "x_proj", "lm_head"]})",
          R"({"peft_type": "LORA", "r": 2, "lora_alpha": 4, "use_dora": true, "lora_dropout": 0.1,
              "target_modules": ["in_proj_z", "x_proj_C", "conv1d", "out_proj"]})",
          R"({"peft_type": "LORA", "r": 2, "lora_alpha": 4, "use_dora": true,
              "target_modules": ["in_proj", "dt_proj", "embeddings"]})",
          R"({"peft_type": "LORA", "r": 2, "lora_alpha": 4, "init_lora_weights": "pissa",
              "target_modules": ["in_proj_x", "x_proj", "out_proj"]})",
          R"({"peft_type": "LORA", "r": 2, "lora_alpha": 2, "init_lora_weights": "pissa_niter_4",
              "target_modules": ["in_proj"]})"};
}

std::unique_ptr<PeftMethod> make_lora(MethodConfig& config) {
  auto lora = LoraConfig::read(config);
  return std::make_unique<Lora>(std::move(lora), config.where());
}

}  // namespace mpeft::peft
