// AFFIX_TUNING (MambaPEFT 2025): tokens of their own before the text in every layer. Their outputs are dropped and they
// do not depend on the text, so they are the state that the convolution and the scan have after reading them: computed
// once for the whole batch, exact, and right in cached decoding.

#include <ATen/ops/empty.h>

#include "mpeft/core/strings.h"
#include "mpeft/model/mamba_mixer.h"

#include "peft/mixer_method.h"

namespace mpeft::peft {
namespace {

using nlohmann::json;

constexpr const char* kInner = "inner_single_prefix";
constexpr const char* kOuter = "outer_single_prefix";

struct AffixConfig {
  int64_t num_virtual_tokens = 3;
  bool is_outer = false;
};

class AffixModule : public MixerModule {
 public:
  AffixModule(const AffixConfig& config, const model::MambaConfig& sizes, at::Generator& generator) : config_(config) {
    // Inner tokens are what enters the convolution. The reference's have a half that enters the gate too; the gate acts
    // on outputs alone, theirs are dropped, so that half never has a gradient and there is none of it here.
    prefix_ = register_parameter(
        "prefix", at::empty({config.num_virtual_tokens, config.is_outer ? sizes.d_model : sizes.d_inner()}));
    prefix_.normal_(0, 1, generator);
  }

  void change_start(model::MambaMixerImpl& mixer, model::LayerState& start, at::ScalarType dtype) override {
    at::Tensor x = prefix_.to(dtype).unsqueeze(0);  // (1, n, d_inner or d_model)
    if (config_.is_outer) x = mixer.in_proj(x).narrow(-1, 0, mixer.D.size(0));
    start = mixer.read(x, start);
  }

 private:
  AffixConfig config_;
  at::Tensor prefix_;  // (n, d_inner), or (n, d_model) before in_proj
};

class AffixTuning : public MixerMethod {
 public:
  AffixTuning(const AffixConfig& config, json fields, std::string where)
      : MixerMethod("AFFIX_TUNING", std::move(fields), std::move(where)), config_(config) {}

  bool is_identity_at_start() const override { return false; }

  std::string merge_obstacle(const model::MambaLM&) const override {
    return "Mamba checkpoints start from zero states: export the state file instead";
  }

  bool amounts_to_start_states() const override { return true; }

 protected:
  std::shared_ptr<MixerModule> make_module(model::MambaMixerImpl& /*mixer*/, const model::MambaConfig& sizes,
                                           at::Generator& generator) const override {
    return std::make_shared<AffixModule>(config_, sizes, generator);
  }

 private:
  AffixConfig config_;
};

}  // namespace

std::vector<std::string> make_affix_tuning_examples() {
  return {R"({"peft_type": "AFFIX_TUNING"})",
          R"({"peft_type": "AFFIX_TUNING", "num_virtual_tokens": 5, "prefix_type": "outer_single_prefix"})"};
}

std::unique_ptr<PeftMethod> make_affix_tuning(MethodConfig& config) {
  AffixConfig affix;
  affix.num_virtual_tokens = config.integer("num_virtual_tokens", 3, 1, 65536);
  const std::string type = config.text("prefix_type", kInner);
  if (type != kInner && type != kOuter)
    config.problem("prefix_type", mpeft::str("expected ", kInner, " or ", kOuter, ", got '", type, "'"));
  affix.is_outer = type == kOuter;
  skip_provenance(config);
  auto neutral = neutral_provenance();
  neutral.emplace_back("prefix_projection", false);
  config.finish(neutral);
  return std::make_unique<AffixTuning>(
      affix, json{{"num_virtual_tokens", affix.num_virtual_tokens}, {"prefix_type", type}}, config.where());
}

}  // namespace mpeft::peft
