// SDT with LoRA (SD_LORA): sparse dimension tuning of the scan's A, B and C, chosen by a warm-up, and LoRA on linear
// layers. Galim et al. 2024, arXiv 2410.09016; by default as their published code does it. Two stages, two methods:
// SdLoraWarmup trains A_log as a whole and says, when it is done, which configuration comes next; SdLoraKept trains
// what that configuration's index lists name, from the pretrained weights on.

#include <algorithm>

#include "mpeft/core/check.h"
#include "mpeft/core/error.h"
#include "mpeft/core/strings.h"
#include "mpeft/peft/staged_method.h"
#include "mpeft/peft/target.h"

#include "peft/kept_columns.h"
#include "peft/kept_entries.h"
#include "peft/sd_lora_config.h"
#include "peft/sd_selection.h"

namespace mpeft::peft {
namespace {

constexpr const char* kChild = "sdt";  // the adapters' name in mixer and x_proj

// A parameter of a layer's mixer: `site` below it, and the site with `suffix` as its name in the adapter's file.
NamedParameter named(size_t layer, const std::string& site, const std::string& suffix, const at::Tensor& tensor) {
  const std::string path = mpeft::str("backbone.layers.", layer, ".mixer.", site);
  return {.name = "base_model.model." + path + suffix, .tensor = tensor, .site = path};
}

// What both stages share: LoRA on the linear layers.
class SdLora : public PeftMethod, public StagedMethod {
 public:
  explicit SdLora(SdLoraConfig config) : config_(std::move(config)) {
    if (!config_.lora_targets.empty()) lora_ = make_peft_method(config_.lora_json(), config_.where);
  }

  std::string type() const override { return "SD_LORA"; }
  std::string config_json(const std::string& base_model) const override { return config_.to_json(base_model); }

  std::string merge_obstacle(const model::MambaLM& model) const override {
    return lora_ ? lora_->merge_obstacle(model) : "";
  }

  std::vector<NamedParameter> parameters() const override {
    std::vector<NamedParameter> all = parameters_;
    if (lora_) {
      const auto lora = lora_->parameters();
      all.insert(all.end(), lora.begin(), lora.end());
    }
    return all;
  }

 protected:
  void inject_lora(model::MambaLM& model, uint64_t seed) {
    if (lora_) lora_->inject(model, seed);
  }

  // First of all: it throws where LoRA does not merge.
  void merge_lora(model::MambaLM& model) {
    if (lora_) lora_->merge(model);
  }

  SdLoraConfig config_;
  std::unique_ptr<PeftMethod> lora_;        // null without linear targets
  std::vector<NamedParameter> parameters_;  // without LoRA's
};

// Stage 1: everything that may be chosen trains; how far A_log moves decides.
class SdLoraWarmup : public SdLora {
 public:
  using SdLora::SdLora;

  MethodStage stage() const override { return {1, 2, "warm-up", config_.warmup_steps}; }

  void inject(model::MambaLM& model, uint64_t seed) override {
    const int64_t d_inner = model->config().d_inner(), d_state = model->config().d_state;
    config_.n_states(d_state);  // what cannot be chosen later is refused now
    config_.n_channels(d_inner);
    for (size_t i = 0; i < model->backbone->layers.size(); ++i) {
      Layer layer{model->backbone->layers[i]->mixer, {}, {}, {}};
      if (config_.scope == SdLoraConfig::Scope::kALog) {
        auto module = std::make_shared<DenseALogDelta>(d_inner, d_state);
        layer.mixer->attach(kChild, module, module);
        layer.delta = module->delta;
        parameters_.push_back(named(i, "A_log", ".sdt_warmup", module->delta));
      } else {
        layer.A_log_before = layer.mixer->A_log.detach().clone();
        layer.dt_bias_before = layer.mixer->dt_proj->bias.detach().clone();
        thaw_ssm(layer.mixer, i);
      }
      layers_.push_back(std::move(layer));
    }
    if (config_.scope == SdLoraConfig::Scope::kALog) {
      inject_lora(model, seed);
    } else {
      // Without LoRA; that its targets exist is checked all the same, before the warm-up and not after it.
      TargetSelection targets;
      targets.names = config_.lora_targets;
      if (lora_) select_targets(model, targets, config_.where);
      lora_.reset();
    }
  }

  void merge(model::MambaLM& model) override {
    const torch::NoGradGuard no_grad;
    merge_lora(model);
    for (auto& layer : layers_) {
      if (!layer.delta.defined()) continue;
      at::Tensor& A_log = layer.mixer->A_log;
      A_log.set_data(A_log + layer.delta.to(A_log.options()));
      layer.mixer->detach(kChild);
    }
    layers_.clear();
    parameters_.clear();
  }

  std::string next_stage_json() const override {
    std::vector<LayerSelection> selection;
    for (size_t i = 0; i < layers_.size(); ++i) {
      const auto where = mpeft::str("SD_LORA: layer ", i);
      selection.push_back(select_entries(scores(layers_[i]), config_.n_channels(layers_[i].mixer->A_log.size(0)),
                                         config_.n_states(layers_[i].mixer->A_log.size(1)), where));
      selection.back().layer = static_cast<int64_t>(i);
    }
    SdLoraConfig next = config_;
    next.selected = to_json(selection);
    return next.to_json("");
  }

 private:
  struct Layer {
    model::MambaMixer mixer{nullptr};
    at::Tensor delta;                         // (d_inner, d_state), with scope a_log
    at::Tensor A_log_before, dt_bias_before;  // (d_inner, d_state), (d_inner), with scope ssm_full
  };

  void thaw_ssm(model::MambaMixer& mixer, size_t layer) {
    const auto thaw = [&](const std::string& name, at::Tensor parameter) {
      if (!parameter.defined()) return;
      parameter.set_requires_grad(true);
      parameters_.push_back(named(layer, name, "", parameter));
    };
    thaw("A_log", mixer->A_log);
    thaw("D", mixer->D);
    thaw("conv1d.weight", mixer->conv1d->weight);
    thaw("conv1d.bias", mixer->conv1d->bias);
    thaw("x_proj.weight", mixer->x_proj->weight);
    thaw("dt_proj.weight", mixer->dt_proj->weight);
    thaw("dt_proj.bias", mixer->dt_proj->bias);
  }

  SelectionScores scores(const Layer& layer) const {
    const bool in_place = !layer.delta.defined();
    const at::Tensor A_log = layer.mixer->A_log.detach(), dt_bias = layer.mixer->dt_proj->bias.detach();
    if (config_.metric == SdLoraConfig::Metric::kALogDelta) {
      return a_log_delta_scores(in_place ? A_log.cpu() - layer.A_log_before.to(A_log.scalar_type()) : layer.delta);
    }
    if (in_place) return abar_delta_scores(layer.A_log_before, layer.dt_bias_before, A_log, dt_bias);
    return abar_delta_scores(A_log, dt_bias, A_log + layer.delta.detach().to(A_log.scalar_type()), dt_bias);
  }

  std::vector<Layer> layers_;
};

// Stage 2: the chosen entries of A_log and the chosen channels' columns of x_proj.
class SdLoraKept : public SdLora {
 public:
  using SdLora::SdLora;

  MethodStage stage() const override { return {2, 2, "", 0}; }
  std::string next_stage_json() const override { MPEFT_ASSERT(false, "this is the last stage"); }

  void inject(model::MambaLM& model, uint64_t seed) override {
    const int64_t d_inner = model->config().d_inner(), d_state = model->config().d_state;
    std::vector<int64_t> numbers;
    for (int64_t i = 0; i < model->config().n_layer; ++i) numbers.push_back(i);
    const auto selection = selection_from_json(config_.selected, numbers, d_inner, d_state, config_.n_channels(d_inner),
                                               config_.n_states(d_state), config_.where + ": selection.layers");
    for (const auto& layer : selection) add_adapters(model, layer);
    inject_lora(model, seed);
  }

  void merge(model::MambaLM& model) override {
    const torch::NoGradGuard no_grad;
    merge_lora(model);
    for (auto& [mixer, entries] : layers_) {
      at::Tensor& A_log = mixer->A_log;
      A_log.set_data(entries->change_A_log(A_log.detach()));
      mixer->detach(kChild);
      mixer->x_proj->merge_adapters();  // nothing is left there when LoRA's merge took it along
    }
    layers_.clear();
    parameters_.clear();
  }

 private:
  void add_adapters(model::MambaLM& model, const LayerSelection& selection) {
    const auto i = static_cast<size_t>(selection.layer);
    auto mixer = model->backbone->layers[i]->mixer;
    auto entries = std::make_shared<KeptEntries>(selection, model->config().d_state);
    mixer->attach(kChild, entries, entries);
    parameters_.push_back(named(i, "A_log", ".sdt_delta", entries->delta));
    layers_.emplace_back(mixer, entries);
    if (config_.column_targets.empty()) return;

    std::vector<model::RowSlice> parts;
    for (const auto& name : config_.column_targets) parts.push_back(mixer->x_proj->rows(name));
    std::sort(parts.begin(), parts.end(), [](const auto& a, const auto& b) { return a.begin < b.begin; });
    auto columns = std::make_shared<KeptColumns>(parts, selection.channels, mixer->x_proj->options());
    mixer->x_proj->attach(kChild, columns, columns);
    for (const auto& part : parts) {
      parameters_.push_back(named(i, part.name, ".sdt_delta", columns->delta(part.name)));
    }
  }

  std::vector<std::pair<model::MambaMixer, std::shared_ptr<KeptEntries>>> layers_;
};

}  // namespace

std::vector<std::string> make_sd_lora_examples() {
  return {
      R"({"peft_type": "SD_LORA", "num_zero": {"state": 0, "channel": 0}, "num_freeze": {"state": 0.75, "channel": 0.9},
              "target_modules": ["A_log", "x_proj_B", "x_proj_C", "out_proj"], "proj_lora_r": 4, "num_warmup_it": 9})",
      R"({"peft_type": "SD_LORA", "target_modules": ["A_log", "x_proj_C", "x_proj_dt", "in_proj_x"], "proj_lora_r": 2,
              "selection": {"metric": "abar_delta", "keep_states": 3, "keep_channels": 5},
              "warmup": {"scope": "ssm_full", "steps": 10}})",
      R"({"peft_type": "SD_LORA", "num_freeze": {"state": 0.5, "channel": 0.9}, "target_modules": ["A_log"]})"};
}

std::unique_ptr<PeftMethod> make_sd_lora(MethodConfig& config) {
  auto sd = read_sd_lora_config(config);
  if (sd.selected.is_null()) return std::make_unique<SdLoraWarmup>(std::move(sd));
  return std::make_unique<SdLoraKept>(std::move(sd));
}

}  // namespace mpeft::peft
