#include "mpeft/model/mamba_config.h"

#include <cmath>

#include <nlohmann/json.hpp>

#include "mpeft/core/error.h"
#include "mpeft/core/json.h"
#include "mpeft/core/strings.h"

namespace mpeft::model {
namespace {

using nlohmann::json;

// Nothing published comes near these; they keep a hostile file from asking for absurd memory.
constexpr int64_t kMaxWidth = 1 << 17;
constexpr int64_t kMaxLayers = 4096;
constexpr int64_t kMaxVocab = 1 << 24;

// Reads typed values of a config.json and names the file and the key when one is wrong.
class Reader {
 public:
  Reader(const json& object, std::string where) : object_(object), where_(std::move(where)) {}

  bool has(const char* key) const { return object_.contains(key) && !object_.at(key).is_null(); }

  int64_t integer(const char* key, int64_t fallback) const {
    if (!has(key)) return fallback;
    const json& value = object_.at(key);
    if (!value.is_number_integer()) fail(key, "expected an integer, got " + value.dump());
    return value.get<int64_t>();
  }
  double number(const char* key, double fallback) const {
    if (!has(key)) return fallback;
    const json& value = object_.at(key);
    if (!value.is_number()) fail(key, "expected a number, got " + value.dump());
    return value.get<double>();
  }
  bool boolean(const char* key, bool fallback) const {
    if (!has(key)) return fallback;
    const json& value = object_.at(key);
    if (!value.is_boolean()) fail(key, "expected true or false, got " + value.dump());
    return value.get<bool>();
  }
  [[noreturn]] void fail(const char* key, const std::string& what) const {
    throw CheckpointError(mpeft::str(where_, ": ", key, ": ", what));
  }

 private:
  const json& object_;
  std::string where_;
};

MambaConfig from_state_spaces(const json& object, const std::string& where) {
  const Reader reader(object, where);
  MambaConfig config;
  config.d_model = reader.integer("d_model", 0);
  config.n_layer = reader.integer("n_layer", 0);
  const int64_t multiple = reader.integer("pad_vocab_size_multiple", 8);
  if (multiple < 1) reader.fail("pad_vocab_size_multiple", "must be at least 1");
  const int64_t vocab = reader.integer("vocab_size", 0);
  if (vocab < 0 || vocab > kMaxVocab)
    reader.fail("vocab_size", mpeft::str("must be in [1, ", kMaxVocab, "], got ", vocab));
  config.vocab_size = (vocab + multiple - 1) / multiple * multiple;
  config.tie_embeddings = reader.boolean("tie_embeddings", true);
  if (!reader.boolean("rms_norm", true)) reader.fail("rms_norm", "LayerNorm models are not supported");
  if (reader.integer("d_intermediate", 0) != 0) reader.fail("d_intermediate", "blocks with an MLP are not supported");
  if (reader.has("attn_layer_idx") && !object.at("attn_layer_idx").empty()) {
    reader.fail("attn_layer_idx", "attention layers are not supported");
  }
  if (reader.has("ssm_cfg")) {
    const json& ssm = object.at("ssm_cfg");
    if (!ssm.is_object()) reader.fail("ssm_cfg", "expected an object");
    const Reader inner(ssm, where + ": ssm_cfg");
    if (ssm.value("layer", json("Mamba1")) != json("Mamba1")) inner.fail("layer", "only Mamba1 is supported");
    config.d_state = inner.integer("d_state", config.d_state);
    config.d_conv = inner.integer("d_conv", config.d_conv);
    config.expand = inner.integer("expand", config.expand);
    config.use_bias = inner.boolean("bias", config.use_bias);
    config.use_conv_bias = inner.boolean("conv_bias", config.use_conv_bias);
    if (!(inner.has("dt_rank") && ssm.at("dt_rank") == "auto")) config.dt_rank = inner.integer("dt_rank", 0);
  }
  return config;
}

MambaConfig from_transformers(const json& object, const std::string& where) {
  const Reader reader(object, where);
  if (reader.has("model_type") && object.at("model_type") != "mamba") {
    reader.fail("model_type", "only \"mamba\" is supported, got " + object.at("model_type").dump());
  }
  MambaConfig config;
  config.d_model = reader.integer("hidden_size", config.d_model);
  config.n_layer = reader.integer("num_hidden_layers", 32);  // transformers' defaults
  config.vocab_size = reader.integer("vocab_size", config.vocab_size);
  config.d_state = reader.integer("state_size", config.d_state);
  config.d_conv = reader.integer("conv_kernel", config.d_conv);
  config.expand = reader.integer("expand", config.expand);
  if (reader.has("intermediate_size")) {
    const int64_t inner = reader.integer("intermediate_size", 0);
    if (config.d_model <= 0 || inner % config.d_model != 0) {
      reader.fail("intermediate_size", "must be a multiple of hidden_size");
    }
    config.expand = inner / config.d_model;
  }
  if (!(reader.has("time_step_rank") && object.at("time_step_rank") == "auto")) {
    config.dt_rank = reader.integer("time_step_rank", 0);
  }
  config.norm_eps = reader.number("layer_norm_epsilon", config.norm_eps);
  config.use_bias = reader.boolean("use_bias", config.use_bias);
  config.use_conv_bias = reader.boolean("use_conv_bias", config.use_conv_bias);
  config.tie_embeddings = reader.boolean("tie_word_embeddings", true);
  if (reader.has("hidden_act") && object.at("hidden_act") != "silu") {
    reader.fail("hidden_act", "only \"silu\" is supported, got " + object.at("hidden_act").dump());
  }
  return config;
}

}  // namespace

MambaConfig MambaConfig::from_json(const std::string& text, const std::string& where) {
  const json object = parse_json_or_throw<CheckpointError>(text, where);
  if (!object.is_object()) throw CheckpointError(where + ": not a JSON object");
  MambaConfig config;
  if (object.contains("d_model") && object.contains("n_layer")) {
    config = from_state_spaces(object, where);
  } else if (object.contains("hidden_size") || object.value("model_type", json()) == json("mamba")) {
    config = from_transformers(object, where);
  } else {
    throw CheckpointError(
        where + ": neither a state-spaces configuration (d_model, n_layer) nor a transformers one (hidden_size)");
  }
  try {
    config.validate();
  } catch (const ConfigError& e) {
    throw CheckpointError(where + ": " + e.what());
  }
  return config;
}

MambaConfig MambaConfig::from_yaml(const config::Node& node) {
  MambaConfig config;
  config.d_model = node["d_model"].as_int_in(config.d_model, 1, kMaxWidth);
  config.n_layer = node["n_layer"].as_int_in(config.n_layer, 1, kMaxLayers);
  config.vocab_size = node["vocab_size"].as_int_in(config.vocab_size, 1, kMaxVocab);
  config.d_state = node["d_state"].as_int_in(config.d_state, 1, 256);
  config.d_conv = node["d_conv"].as_int_in(config.d_conv, 2, 4);
  config.expand = node["expand"].as_int_in(config.expand, 1, 16);
  config.dt_rank = node["dt_rank"].as_int_in(config.dt_rank, 0, kMaxWidth);
  config.norm_eps = node["norm_eps"].as_double_in(config.norm_eps, 0, 1);
  config.use_bias = node["use_bias"].as_bool(config.use_bias);
  config.use_conv_bias = node["use_conv_bias"].as_bool(config.use_conv_bias);
  config.tie_embeddings = node["tie_embeddings"].as_bool(config.tie_embeddings);
  return config;
}

std::string MambaConfig::to_json() const {
  const json object = {{"architectures", {"MambaForCausalLM"}},
                       {"model_type", "mamba"},
                       {"hidden_size", d_model},
                       {"num_hidden_layers", n_layer},
                       {"vocab_size", vocab_size},
                       {"state_size", d_state},
                       {"conv_kernel", d_conv},
                       {"expand", expand},
                       {"intermediate_size", d_inner()},
                       {"time_step_rank", resolved_dt_rank()},
                       {"layer_norm_epsilon", norm_eps},
                       {"hidden_act", "silu"},
                       {"use_bias", use_bias},
                       {"use_conv_bias", use_conv_bias},
                       {"tie_word_embeddings", tie_embeddings},
                       {"residual_in_fp32", true},
                       {"bos_token_id", 0},
                       {"eos_token_id", 0},
                       {"pad_token_id", 0}};
  return object.dump(2) + "\n";
}

void MambaConfig::validate() const {
  const auto require = [](bool good, const char* key, int64_t value, const char* what) {
    if (!good) throw ConfigError(mpeft::str(key, ": ", what, ", got ", value));
  };
  require(d_model >= 1 && d_model <= kMaxWidth, "d_model", d_model, "must be in [1, 131072]");
  require(n_layer >= 1 && n_layer <= kMaxLayers, "n_layer", n_layer, "must be in [1, 4096]");
  require(vocab_size >= 1 && vocab_size <= kMaxVocab, "vocab_size", vocab_size, "must be in [1, 16777216]");
  require(d_state >= 1 && d_state <= 256, "d_state", d_state, "must be in [1, 256]");
  require(d_conv >= 2 && d_conv <= 4, "d_conv", d_conv, "must be 2, 3 or 4");
  require(expand >= 1 && expand <= 16, "expand", expand, "must be in [1, 16]");
  require(dt_rank >= 0 && dt_rank <= kMaxWidth, "dt_rank", dt_rank, "must be in [0, 131072]");
  if (!(norm_eps >= 0 && norm_eps < 1)) throw ConfigError(mpeft::str("norm_eps: must be in [0, 1), got ", norm_eps));
}

}  // namespace mpeft::model
