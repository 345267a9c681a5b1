// ADDITIONAL_SCAN (MambaPEFT 2025; DIM_EXTEND in ssm-state-tuning): n more states, with columns of A_log and rows of
// x_proj of their own. C starts at zero, so the untrained adapter changes nothing; A_log starts from the pretrained
// last column. The trained model is a plain Mamba checkpoint with d_state + n states.

#include <ATen/CPUGeneratorImpl.h>

#include "mpeft/core/error.h"
#include "mpeft/core/random.h"
#include "mpeft/core/strings.h"
#include "mpeft/model/extra_states.h"

#include "peft/mixer_method.h"
#include "peft/state_table.h"

namespace mpeft::peft {
namespace {

constexpr int64_t kMaxStates = 256;  // what the scan takes

class AdditionalScan : public PeftMethod {
 public:
  AdditionalScan(int64_t n_states, std::string where) : n_states_(n_states), where_(std::move(where)) {}

  std::string type() const override { return "ADDITIONAL_SCAN"; }
  std::vector<NamedParameter> parameters() const override { return parameters_; }

  void inject(model::MambaLM& model, uint64_t seed) override {
    const torch::NoGradGuard no_grad;
    const auto& sizes = model->config();
    if (sizes.d_state + n_states_ > kMaxStates) {
      throw ConfigError(mpeft::str(where_, ": scan_addition_num: ", sizes.d_state, " + ", n_states_,
                                   " states are more than the scan's ", kMaxStates));
    }
    for (size_t i = 0; i < model->backbone->layers.size(); ++i) {
      auto& mixer = *model->backbone->layers[i]->mixer;
      const std::string path = mpeft::str("backbone.layers.", i, ".mixer.extra_states");
      model::ExtraStates extra(sizes.d_inner(), n_states_);
      extra->A_log.copy_(mixer.A_log.narrow(1, sizes.d_state - 1, 1).expand({sizes.d_inner(), n_states_}));
      auto generator = at::detail::createCPUGenerator(derive_seed(seed, path));
      at::Tensor B_rows = extra->x_proj_rows.narrow(0, 0, n_states_);
      fill_kaiming(B_rows, generator);
      extra->x_proj_rows.narrow(0, n_states_, n_states_).zero_();
      mixer.attach_extra_states(extra);
      for (auto& item : extra->named_parameters()) {
        item.value().set_requires_grad(true);
        NamedParameter parameter{"base_model.model." + path + "." + item.key(), item.value(), path};
        parameter.weight_decay = item.key() != "A_log";
        parameters_.push_back(std::move(parameter));
      }
    }
  }

  std::string config_json(const std::string& base_model) const override {
    return adapter_config_json(type(), base_model, {{"scan_addition_num", n_states_}, {"scan_addition_pos", "suffix"}});
  }

  std::string merge_obstacle(const model::MambaLM&) const override { return ""; }

  bool merge_changes_sizes() const override { return true; }

  void merge(model::MambaLM& model) override {
    for (auto& block : model->backbone->layers) block->mixer->x_proj->merge_adapters();  // before its rows move
    model->absorb_extra_states();
    parameters_.clear();
  }

 private:
  int64_t n_states_;
  std::string where_;
  std::vector<NamedParameter> parameters_;
};

}  // namespace

std::vector<std::string> make_additional_scan_examples() {
  return {R"({"peft_type": "ADDITIONAL_SCAN", "scan_addition_num": 3})"};
}

std::unique_ptr<PeftMethod> make_additional_scan(MethodConfig& config) {
  const int64_t n_states = config.integer("scan_addition_num", 8, 1, kMaxStates);
  skip_provenance(config);
  auto neutral = neutral_provenance();
  neutral.emplace_back("scan_addition_pos", "suffix");
  config.finish(neutral);
  return std::make_unique<AdditionalScan>(n_states, config.where());
}

}  // namespace mpeft::peft
