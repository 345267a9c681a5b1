// SSMPEFT (ssm-peft): what every text starts from (initial state h_0 of the scan, left context of the convolution) and
// how y is read from the state. One scan: its initial state is an input, and scaled states are a scaled B.

#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/zeros.h>

#include "kernels/selective_scan/selective_scan.h"
#include "mpeft/core/strings.h"
#include "mpeft/model/mamba_mixer.h"

#include "peft/mixer_method.h"
#include "peft/scan_terms.h"
#include "peft/start_states.h"
#include "peft/state_table.h"

namespace mpeft::peft {
namespace {

using nlohmann::json;

enum class Init { kAbsent, kZero, kOne, kRandom };

const std::pair<const char*, Init> kInits[] = {{"zero", Init::kZero}, {"one", Init::kOne}, {"random", Init::kRandom}};

std::string name_of(Init init) {
  for (const auto& [name, value] : kInits) {
    if (value == init) return name;
  }
  return "";
}

// y = (C scale_C + bias_C) . (h scale + bias), each (d_inner, d_state) and there or not.
struct ReadOutConfig {
  bool scale = false, bias = false, scale_C = false, bias_C = false;
  Init init = Init::kZero;
  bool any() const { return scale || bias || scale_C || bias_C; }
};

struct SsmPeftConfig {
  Init initial_state = Init::kAbsent;
  Init conv_state = Init::kAbsent;
  ReadOutConfig read_out;
};

class SsmPeftModule : public MixerModule {
 public:
  SsmPeftModule(const SsmPeftConfig& config, const model::MambaConfig& sizes, at::Generator& generator) {
    const int64_t d_inner = sizes.d_inner(), d_state = sizes.d_state;
    const auto add = [&](const std::string& name, int64_t columns, Init init, double zero_means) {
      if (init == Init::kAbsent) return at::Tensor();
      at::Tensor table = register_parameter(name, at::zeros({d_inner, columns}));
      if (init == Init::kZero) table.fill_(zero_means);
      if (init == Init::kOne) table.fill_(1.0);
      if (init == Init::kRandom) fill_kaiming(table, generator);
      return table;
    };
    const auto& read_out = config.read_out;
    const auto when = [&](bool is_there) { return is_there ? read_out.init : Init::kAbsent; };
    initial_state_ = add(kInitialStateName, d_state, config.initial_state, 0.0);
    conv_state_ = add(kConvStateName, sizes.d_conv - 1, config.conv_state, 0.0);
    scale_ = add("scale", d_state, when(read_out.scale), 1.0);
    bias_ = add("bias", d_state, when(read_out.bias), 0.0);
    scale_C_ = add("scale_C", d_state, when(read_out.scale_C), 1.0);
    bias_C_ = add("bias_C", d_state, when(read_out.bias_C), 0.0);
  }

  bool decays(const std::string& name) const override { return name != kInitialStateName && name != kConvStateName; }

  void change_start(model::MambaMixerImpl& mixer, model::LayerState& start, at::ScalarType dtype) override {
    const auto small = dtype == at::kDouble ? at::kDouble : at::kFloat;
    // Beside tokens of an adapter before this one, whose states are there already, the states add.
    const auto add = [](at::Tensor& state, const at::Tensor& more) { state = state.defined() ? state + more : more; };
    if (initial_state_.defined()) {
      at::Tensor h0 = initial_state_.to(small).unsqueeze(0);
      if (scale_.defined()) h0 = h0 * scale_.to(small);  // the scan carries scale h (see change_scan)
      // Tokens have been read with states that another adapter put beside the checkpoint's.
      const int64_t n_extra = mixer.n_states() - h0.size(-1);
      if (start.scan.defined() && n_extra > 0) h0 = at::constant_pad_nd(h0, {0, n_extra});
      add(start.scan, h0);
    }
    if (conv_state_.defined()) add(start.conv, conv_state_.to(dtype).t().unsqueeze(0));
  }

  void change_scan(ops::SelectiveScanArgs& scan) override {
    const auto dtype = scan.A.scalar_type();
    const auto cast = [&](const at::Tensor& t) { return t.defined() ? t.to(dtype) : t; };
    // The recurrence is linear in B and diagonal: with B scaled, the state is scale h at every step.
    scale_and_shift(scan.B_scale, scan.B_bias, cast(scale_), {});
    scale_and_shift(scan.C_scale, scan.C_bias, cast(scale_C_), cast(bias_C_));
    if (bias_.defined()) add_term(scan.state_offset, cast(bias_));
  }

 private:
  at::Tensor initial_state_;                    // (d_inner, d_state)
  at::Tensor conv_state_;                       // (d_inner, d_conv - 1), oldest first
  at::Tensor scale_, bias_, scale_C_, bias_C_;  // (d_inner, d_state)
};

class SsmPeft : public MixerMethod {
 public:
  SsmPeft(const SsmPeftConfig& config, json fields, std::string where)
      : MixerMethod("SSMPEFT", std::move(fields), std::move(where)), config_(config) {}

  bool is_identity_at_start() const override {
    const auto neutral = [](Init init) { return init == Init::kAbsent || init == Init::kZero; };
    return neutral(config_.initial_state) && neutral(config_.conv_state) &&
           (!config_.read_out.any() || config_.read_out.init == Init::kZero);
  }

  std::string merge_obstacle(const model::MambaLM&) const override {
    return config_.read_out.any() ? "states that are read per channel have no place in a Mamba checkpoint"
                                  : "Mamba checkpoints start from zero states: export the state file instead";
  }

  bool amounts_to_start_states() const override { return !config_.read_out.any(); }

 protected:
  std::shared_ptr<MixerModule> make_module(model::MambaMixerImpl& /*mixer*/, const model::MambaConfig& sizes,
                                           at::Generator& generator) const override {
    return std::make_shared<SsmPeftModule>(config_, sizes, generator);
  }

 private:
  SsmPeftConfig config_;
};

Init read_init(MethodConfig& config, const std::string& key, const std::string& fallback, bool allows_one) {
  const std::string text = config.text(key, fallback);
  for (const auto& [name, value] : kInits) {
    if (text == name && (allows_one || value != Init::kOne)) return value;
  }
  config.problem(key, mpeft::str("expected zero", allows_one ? ", one" : "", " or random, got '", text, "'"));
  return Init::kZero;
}

// The fields of an object within the configuration, as a configuration of their own.
MethodConfig nested(MethodConfig& config, const std::string& key) {
  json value = config.raw(key);
  if (!value.is_object()) {
    config.problem(key, "expected an object with \"type\", got " + value.dump());
    value = json::object();
  }
  return {value, config.where() + ": " + key};
}

Init read_scan(MethodConfig& config, const std::string& key) {
  auto scan = nested(config, key);
  const std::string type = scan.text("type", "init_state");
  if (type != "init_state") scan.problem("type", "expected init_state, got '" + type + "'");
  const Init init = read_init(scan, "init", "random", /*allows_one=*/true);
  scan.finish({{"hidden_dim", nullptr}});
  return init;
}

ReadOutConfig read_state_to_y(MethodConfig& config) {
  ReadOutConfig read_out;
  auto fields = nested(config, "state_to_y");
  const std::string type = fields.text("type", "transform");
  if (type != "transform") {
    fields.problem("type", mpeft::str("expected transform, got '", type,
                                      type == "prev_state" ? "' (prev_state reads the state of the step before, which "
                                                             "no experiment uses and the fused scan does not keep)"
                                                           : "'"));
  }
  read_out.scale = fields.boolean("scale", false);
  read_out.bias = fields.boolean("bias", false);
  read_out.scale_C = fields.boolean("scale_C", false);
  read_out.bias_C = fields.boolean("bias_C", false);
  read_out.init = read_init(fields, "init", "zero", /*allows_one=*/false);
  if (!read_out.any()) fields.problem("scale", "none of scale, bias, scale_C and bias_C is true: nothing would train");
  fields.finish({});
  return read_out;
}

json fields_of(const SsmPeftConfig& config) {
  json fields = {{"scan", nullptr}, {"state_to_y", nullptr}, {"conv_init_state", config.conv_state != Init::kAbsent}};
  if (config.initial_state != Init::kAbsent)
    fields["scan"] = {{"type", "init_state"}, {"init", name_of(config.initial_state)}};
  if (config.conv_state != Init::kAbsent) fields["conv_init_state_init"] = name_of(config.conv_state);
  if (const auto& r = config.read_out; r.any()) {
    fields["state_to_y"] = {{"type", "transform"},  {"scale", r.scale},   {"bias", r.bias},
                            {"scale_C", r.scale_C}, {"bias_C", r.bias_C}, {"init", name_of(r.init)}};
  }
  return fields;
}

}  // namespace

std::vector<std::string> make_ssmpeft_examples() {
  return {R"({"peft_type": "SSMPEFT", "scan": {"type": "init_state", "init": "zero"}})",
          R"({"peft_type": "SSMPEFT", "scan": {"type": "init_state", "init": "random"}, "conv_init_state": true,
              "conv_init_state_init": "zero"})",
          R"({"peft_type": "SSMPEFT", "scan": {"type": "init_state", "init": "zero"}, "state_to_y":
              {"type": "transform", "scale": true, "bias": true, "scale_C": true, "bias_C": true}})"};
}

std::unique_ptr<PeftMethod> make_ssmpeft(MethodConfig& config) {
  SsmPeftConfig ssm;
  // ssm-state-tuning, the reference's other repository, says scan_state.
  for (const char* key : {"scan", "scan_state"}) {
    if (config.has(key)) ssm.initial_state = read_scan(config, key);
  }
  if (config.has("state_to_y")) ssm.read_out = read_state_to_y(config);
  const bool has_conv_state = config.boolean("conv_init_state", false);
  const Init conv_init = read_init(config, "conv_init_state_init", "zero", /*allows_one=*/true);
  if (has_conv_state) ssm.conv_state = conv_init;
  if (ssm.initial_state == Init::kAbsent && ssm.conv_state == Init::kAbsent && !ssm.read_out.any())
    config.problem("scan", "none of scan, state_to_y and conv_init_state is there, so nothing would train");
  skip_provenance(config);
  auto neutral = neutral_provenance();
  neutral.emplace_back("conv_init_state_mlp_hidden_dim", nullptr);
  neutral.emplace_back("target_modules", json({"selective_scan_fn"}));  // what the fields above imply
  neutral.emplace_back("target_modules", json({"conv1d"}));
  neutral.emplace_back("target_modules", json({"selective_scan_fn", "conv1d"}));
  config.finish(neutral);
  return std::make_unique<SsmPeft>(ssm, fields_of(ssm), config.where());
}

}  // namespace mpeft::peft
