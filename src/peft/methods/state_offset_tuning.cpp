// STATE_OFFSET_TUNING (furiosa-ai 2025): y_t = C_t (h_t + h') + D u_t, or its output form y_t + y'; both before the
// gate. h' (d_inner, d_state) may be a product of low rank.

#include <ATen/ops/zeros.h>

#include "kernels/selective_scan/selective_scan.h"

#include "peft/mixer_method.h"
#include "peft/scan_terms.h"
#include "peft/state_table.h"

namespace mpeft::peft {
namespace {

using nlohmann::json;

constexpr const char* kState = "STATE_OFFSET_TUNING";
constexpr const char* kOutput = "OUTPUT_TUNING";

struct OffsetConfig {
  bool on_output = false;
  bool is_random = false;
  LowRankFields low_rank;
  std::vector<std::string> finetune_parameters;
};

class OffsetModule : public MixerModule {
 public:
  OffsetModule(const OffsetConfig& config, const model::MambaConfig& sizes, at::Generator& generator,
               const std::string& where) {
    if (config.on_output) {
      output_offset_ = register_parameter("output_offset", at::zeros({sizes.d_inner()}));
      if (config.is_random) output_offset_.normal_(0, 0.1, generator);
      return;
    }
    state_offset_ = register_module("state_offset", std::make_shared<StateTable>(sizes.d_inner(), sizes.d_state,
                                                                                 config.low_rank, generator, where));
    if (config.is_random && state_offset_->weight.defined()) state_offset_->weight.normal_(0, 0.1, generator);
  }

  void change_scan(ops::SelectiveScanArgs& scan) override {
    const auto dtype = scan.A.scalar_type();
    if (state_offset_) {
      add_term(scan.state_offset, state_offset_->values().to(dtype));
    } else {
      add_term(scan.out_offset, output_offset_.to(dtype));
    }
  }

 private:
  std::shared_ptr<StateTable> state_offset_;  // (d_inner, d_state)
  at::Tensor output_offset_;                  // (d_inner)
};

class StateOffsetTuning : public MixerMethod {
 public:
  StateOffsetTuning(OffsetConfig config, json fields, std::string where)
      : MixerMethod(kState, std::move(fields), std::move(where)), config_(std::move(config)) {
    finetune_parameters_ = config_.finetune_parameters;
  }

  // With low rank the random factor is multiplied by zeros.
  bool is_identity_at_start() const override { return !config_.is_random || config_.low_rank.r > 0; }

  std::string merge_obstacle(const model::MambaLM&) const override {
    return config_.on_output ? "an offset of the scan's output is a bias that Mamba checkpoints do not have"
                             : "a state offset reads C_t h', a dense map of every channel that Mamba checkpoints do "
                               "not have: it stays an adapter";
  }

 protected:
  std::shared_ptr<MixerModule> make_module(model::MambaMixerImpl& /*mixer*/, const model::MambaConfig& sizes,
                                           at::Generator& generator) const override {
    return std::make_shared<OffsetModule>(config_, sizes, generator, where());
  }

 private:
  OffsetConfig config_;
};

}  // namespace

std::vector<std::string> make_state_offset_tuning_examples() {
  return {R"({"peft_type": "STATE_OFFSET_TUNING", "tuning_mode": "STATE_OFFSET_TUNING", "init": "zero"})",
          R"({"peft_type": "STATE_OFFSET_TUNING", "tuning_mode": "STATE_OFFSET_TUNING", "init": "random"})",
          R"({"peft_type": "STATE_OFFSET_TUNING", "tuning_mode": "OUTPUT_TUNING", "init": "zero"})",
          R"({"peft_type": "STATE_OFFSET_TUNING", "tuning_mode": "STATE_OFFSET_TUNING", "r": 2, "r_ratio": 2})"};
}

std::unique_ptr<PeftMethod> make_state_offset_tuning(MethodConfig& config) {
  OffsetConfig offset;
  const std::string mode = config.text("tuning_mode", "");
  if (mode != kState && mode != kOutput)
    config.problem("tuning_mode", "expected STATE_OFFSET_TUNING (h') or OUTPUT_TUNING (y'), got '" + mode + "'");
  offset.on_output = mode == kOutput;
  const std::string init = config.text("init", "zero");
  if (init != "zero" && init != "random") config.problem("init", "expected zero or random, got '" + init + "'");
  offset.is_random = init == "random";
  offset.low_rank = read_low_rank(config);
  if (offset.on_output && offset.low_rank.r > 0)
    config.problem("r", "OUTPUT_TUNING trains one value a channel, which has no rank: leave r out");
  offset.finetune_parameters = config.texts("finetune_parameters");
  skip_provenance(config);
  config.finish(neutral_provenance());

  json fields = {{"tuning_mode", mode}, {"init", init}, {"finetune_parameters", offset.finetune_parameters}};
  if (offset.low_rank.r > 0) {
    fields["r"] = offset.low_rank.r;
    fields["r_ratio"] = offset.low_rank.r_ratio;
    fields["dropout"] = offset.low_rank.dropout;
  }
  return std::make_unique<StateOffsetTuning>(std::move(offset), std::move(fields), config.where());
}

}  // namespace mpeft::peft
