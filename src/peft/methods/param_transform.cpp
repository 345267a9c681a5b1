// PARAM_TRANSFORM (ssm-peft): B and C of the scan, scaled and shifted per channel and state: B' = scale B + bias. The
// scan reads scale and bias; B and C stay (batch, seqlen, d_state).

#include <algorithm>

#include <ATen/ops/ones.h>

#include "kernels/selective_scan/selective_scan.h"
#include "mpeft/core/strings.h"

#include "peft/mixer_method.h"
#include "peft/scan_terms.h"
#include "peft/state_table.h"

namespace mpeft::peft {
namespace {

using nlohmann::json;

// Which axes of (d_inner, d_state) a table has; one value stands for the whole of an axis that it lacks.
struct Axes {
  bool is_there = false, d = false, n = false;
};

struct TransformConfig {
  std::vector<std::string> parameters;  // "B", "C"
  Axes scale, bias;
  bool is_random = false;
  LowRankFields low_rank;
  std::vector<std::string> finetune_parameters;
};

// scale and bias of B or of C.
class Transform : public torch::nn::Module {
 public:
  Transform(const TransformConfig& config, const model::MambaConfig& sizes, at::Generator& generator,
            const std::string& where) {
    const auto make = [&](const Axes& axes) {
      return std::make_shared<StateTable>(axes.d ? sizes.d_inner() : 1, axes.n ? sizes.d_state : 1, config.low_rank,
                                          generator, where);
    };
    if (config.scale.is_there) {
      scale_ = register_module("scale", make(config.scale));
      if (scale_->weight.defined()) fill(scale_->weight, config.is_random, 1.0, generator);
    }
    if (config.bias.is_there) {
      bias_ = register_module("bias", make(config.bias));
      if (bias_->weight.defined()) fill(bias_->weight, config.is_random, 0.0, generator);
    }
  }

  // (d_inner, d_state) in `dtype`; undefined where there is none.
  at::Tensor scale(at::IntArrayRef sizes, at::ScalarType dtype) {
    if (!scale_) return {};
    const at::Tensor values = scale_->values().to(dtype);
    // A low-rank product starts at zero: it is what the scale has beside 1.
    return (scale_->weight.defined() ? values : values + 1.0).expand(sizes);
  }
  at::Tensor bias(at::IntArrayRef sizes, at::ScalarType dtype) {
    return bias_ ? bias_->values().to(dtype).expand(sizes) : at::Tensor();
  }

 private:
  static void fill(at::Tensor& table, bool is_random, double value, at::Generator& generator) {
    if (is_random) {
      fill_kaiming(table, generator);
    } else {
      table.fill_(value);
    }
  }

  std::shared_ptr<StateTable> scale_, bias_;
};

class TransformModule : public MixerModule {
 public:
  TransformModule(const TransformConfig& config, const model::MambaConfig& sizes, at::Generator& generator,
                  const std::string& where)
      : sizes_({sizes.d_inner(), sizes.d_state}) {
    for (const auto& name : config.parameters) {
      auto transform = register_module(name, std::make_shared<Transform>(config, sizes, generator, where));
      (name == "B" ? B_ : C_) = std::move(transform);
    }
  }

  void change_scan(ops::SelectiveScanArgs& scan) override {
    const auto dtype = scan.A.scalar_type();
    if (B_) scale_and_shift(scan.B_scale, scan.B_bias, B_->scale(sizes_, dtype), B_->bias(sizes_, dtype));
    if (C_) scale_and_shift(scan.C_scale, scan.C_bias, C_->scale(sizes_, dtype), C_->bias(sizes_, dtype));
  }

 private:
  std::vector<int64_t> sizes_;  // d_inner, d_state of the checkpoint
  std::shared_ptr<Transform> B_, C_;
};

class ParamTransform : public MixerMethod {
 public:
  ParamTransform(TransformConfig config, json fields, std::string where)
      : MixerMethod("PARAM_TRANSFORM", std::move(fields), std::move(where)), config_(std::move(config)) {
    finetune_parameters_ = config_.finetune_parameters;
  }

  bool is_identity_at_start() const override { return !config_.is_random || config_.low_rank.r > 0; }

  std::string merge_obstacle(const model::MambaLM&) const override {
    return "B and C that differ from channel to channel have no place in a Mamba checkpoint, whose channels share "
           "them: "
           "it stays an adapter";
  }

 protected:
  std::shared_ptr<MixerModule> make_module(model::MambaMixerImpl& /*mixer*/, const model::MambaConfig& sizes,
                                           at::Generator& generator) const override {
    return std::make_shared<TransformModule>(config_, sizes, generator, where());
  }

 private:
  TransformConfig config_;
};

// The reference takes "dn" and ["d", "n"] alike, with b and l (batch, seqlen), along which nothing varies.
Axes read_axes(MethodConfig& config, const std::string& key) {
  Axes axes;
  if (!config.has(key)) return axes;
  axes.is_there = true;
  for (const auto& text : config.texts(key)) {
    for (const char axis : text) {
      axes.d = axes.d || axis == 'd';
      axes.n = axes.n || axis == 'n';
      if (axis != 'd' && axis != 'n' && axis != 'b' && axis != 'l')
        config.problem(key, mpeft::str("expected axes of \"bdnl\" (channel d, state n), got '", text, "'"));
    }
  }
  return axes;
}

json axes_json(const Axes& axes) {
  if (!axes.is_there) return nullptr;
  json result = json::array();
  if (axes.d) result.push_back("d");
  if (axes.n) result.push_back("n");
  return result;
}

}  // namespace

std::vector<std::string> make_param_transform_examples() {
  return {R"({"peft_type": "PARAM_TRANSFORM", "parameters": ["B", "C"], "scale_shape": ["d", "n"],
              "bias_shape": ["d", "n"], "init": "zero"})",
          R"({"peft_type": "PARAM_TRANSFORM", "parameters": ["C"], "bias_shape": ["d"], "init": "random"})",
          R"({"peft_type": "PARAM_TRANSFORM", "parameters": ["B"], "scale_shape": "n", "init": "zero"})",
          R"({"peft_type": "PARAM_TRANSFORM", "parameters": ["B", "C"], "scale_shape": ["d", "n"],
              "bias_shape": ["d", "n"], "init": "zero", "r": 2, "r_ratio": 2})"};
}

std::unique_ptr<PeftMethod> make_param_transform(MethodConfig& config) {
  TransformConfig transform;
  transform.parameters = config.texts("parameters");
  for (const auto& name : transform.parameters) {
    if (name != "B" && name != "C") config.problem("parameters", "expected B and C, got '" + name + "'");
  }
  std::sort(transform.parameters.begin(), transform.parameters.end());
  if (std::adjacent_find(transform.parameters.begin(), transform.parameters.end()) != transform.parameters.end())
    config.problem("parameters", "names one twice");
  if (transform.parameters.empty()) config.problem("parameters", "missing: [\"B\"], [\"C\"] or both");
  transform.scale = read_axes(config, "scale_shape");
  transform.bias = read_axes(config, "bias_shape");
  if (!transform.scale.is_there && !transform.bias.is_there)
    config.problem("scale_shape", "neither scale_shape nor bias_shape is there, so nothing would train");
  const std::string init = config.text("init", "zero");
  if (init != "zero" && init != "random") config.problem("init", "expected zero or random, got '" + init + "'");
  transform.is_random = init == "random";
  transform.low_rank = read_low_rank(config);
  for (const auto& [key, axes] : {std::pair{"scale_shape", transform.scale}, {"bias_shape", transform.bias}}) {
    if (transform.low_rank.r > 0 && axes.is_there && !(axes.d && axes.n))
      config.problem(key, "a product of low rank needs both axes: [\"d\", \"n\"], or leave r out");
  }
  transform.finetune_parameters = config.texts("finetune_parameters");
  skip_provenance(config);
  auto neutral = neutral_provenance();
  neutral.emplace_back("hidden_dim", nullptr);
  config.finish(neutral);

  json fields = {{"parameters", transform.parameters},
                 {"scale_shape", axes_json(transform.scale)},
                 {"bias_shape", axes_json(transform.bias)},
                 {"init", init},
                 {"finetune_parameters", transform.finetune_parameters}};
  if (transform.low_rank.r > 0) {
    fields["r"] = transform.low_rank.r;
    fields["r_ratio"] = transform.low_rank.r_ratio;
    fields["dropout"] = transform.low_rank.dropout;
  }
  return std::make_unique<ParamTransform>(std::move(transform), std::move(fields), config.where());
}

}  // namespace mpeft::peft
