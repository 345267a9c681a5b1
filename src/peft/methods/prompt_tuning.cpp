// PROMPT_TUNING (Lester et al. 2021; Hugging Face PEFT's fields and tensor): learned embeddings before every text.

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/randint.h>

#include "mpeft/core/error.h"
#include "mpeft/core/random.h"
#include "mpeft/core/strings.h"
#include "mpeft/model/prompt_adapter.h"

#include "peft/mixer_method.h"

namespace mpeft::peft {
namespace {

using nlohmann::json;

constexpr const char* kName = "prompt_embeddings";  // in PEFT's adapter_model.safetensors

struct PromptConfig {
  int64_t num_virtual_tokens = 0;
  std::string init = "RANDOM";  // RANDOM, SAMPLE_VOCAB; TEXT in saved adapters
  int64_t token_dim = 0;        // 0: not said
};

class PromptModule : public torch::nn::Module, public model::PromptAdapter {
 public:
  PromptModule(int64_t n_tokens, int64_t d_model) {
    embeddings = register_parameter(kName, at::empty({n_tokens, d_model}));
  }
  at::Tensor virtual_tokens(at::ScalarType dtype) override { return embeddings.to(dtype); }

  at::Tensor embeddings;  // (n_tokens, d_model)
};

class PromptTuning : public PeftMethod {
 public:
  PromptTuning(PromptConfig config, std::string where) : config_(std::move(config)), where_(std::move(where)) {}

  std::string type() const override { return "PROMPT_TUNING"; }
  bool is_identity_at_start() const override { return false; }
  std::vector<NamedParameter> parameters() const override { return parameters_; }

  void inject(model::MambaLM& model, uint64_t seed) override {
    const torch::NoGradGuard no_grad;
    const auto& sizes = model->config();
    if (config_.token_dim != 0 && config_.token_dim != sizes.d_model) {
      throw ConfigError(mpeft::str(where_, ": token_dim: the adapter's embeddings have ", config_.token_dim,
                                   " values, this model's have ", sizes.d_model));
    }
    config_.token_dim = sizes.d_model;
    n_layer_ = sizes.n_layer;
    auto module = std::make_shared<PromptModule>(config_.num_virtual_tokens, sizes.d_model);
    auto generator = at::detail::createCPUGenerator(derive_seed(seed, kName));
    if (config_.init == "SAMPLE_VOCAB") {
      const at::Tensor& table = model->backbone->embeddings->weight;
      const at::Tensor ids = at::randint(table.size(0), {config_.num_virtual_tokens}, generator, at::kLong);
      module->embeddings.copy_(table.index({ids}));
    } else {
      module->embeddings.normal_(0, 1, generator);  // torch.nn.Embedding's, as in PEFT
    }
    module->embeddings.set_requires_grad(true);
    model->attach_prompt(module, module);
    parameters_ = {{kName, module->embeddings, "prompt"}};
  }

  std::string config_json(const std::string& base_model) const override {
    // PEFT asks for the sizes of a transformer: heads are of no effect here.
    return adapter_config_json(type(), base_model,
                               {{"num_virtual_tokens", config_.num_virtual_tokens},
                                {"prompt_tuning_init", config_.init},
                                {"token_dim", config_.token_dim},
                                {"num_layers", n_layer_},
                                {"num_attention_heads", 1},
                                {"num_transformer_submodules", 1}});
  }

  std::string merge_obstacle(const model::MambaLM&) const override {
    return "Mamba checkpoints start from zero states: export the state file instead";
  }
  void merge(model::MambaLM& model) override { throw ConfigError(where_ + ": " + merge_obstacle(model)); }

  std::optional<checkpoint::AdapterFolder> to_peft(model::MambaLM& /*model*/,
                                                   const std::string& base_model) const override {
    checkpoint::AdapterFolder folder;
    folder.config_json = config_json(base_model);
    folder.tensors.emplace(kName, parameters_.at(0).tensor.detach());
    return folder;
  }

  bool amounts_to_start_states() const override { return true; }

 private:
  PromptConfig config_;
  std::string where_;
  int64_t n_layer_ = 0;
  std::vector<NamedParameter> parameters_;
};

}  // namespace

std::vector<std::string> make_prompt_tuning_examples() {
  return {R"({"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 5})",
          R"({"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 1, "prompt_tuning_init": "SAMPLE_VOCAB"})"};
}

std::unique_ptr<PeftMethod> make_prompt_tuning(MethodConfig& config) {
  PromptConfig prompt;
  if (!config.has("num_virtual_tokens")) config.problem("num_virtual_tokens", "missing: how many tokens to learn");
  prompt.num_virtual_tokens = config.integer("num_virtual_tokens", 1, 1, 65536);
  prompt.token_dim = config.integer("token_dim", 0, 1, 1 << 20);
  prompt.init = config.text("prompt_tuning_init", "RANDOM");
  const bool is_saved = config.boolean("inference_mode", false);  // the values come from a file
  if (prompt.init == "TEXT" && !is_saved) {
    config.problem("prompt_tuning_init",
                   "TEXT (the embeddings of prompt_tuning_init_text) is not supported: "
                   "SAMPLE_VOCAB starts from embeddings of the vocabulary, RANDOM from noise");
  } else if (prompt.init != "RANDOM" && prompt.init != "SAMPLE_VOCAB" && prompt.init != "TEXT") {
    config.problem("prompt_tuning_init", "expected RANDOM or SAMPLE_VOCAB, got '" + prompt.init + "'");
  }
  if (prompt.init == "TEXT") prompt.init = "RANDOM";
  // Sizes of transformers, and what a TEXT was made from.
  for (const char* key :
       {"num_layers", "num_attention_heads", "prompt_tuning_init_text", "tokenizer_name_or_path", "tokenizer_kwargs"})
    config.raw(key);
  skip_provenance(config);
  auto neutral = neutral_provenance();
  neutral.emplace_back("num_transformer_submodules", 1);
  neutral.emplace_back("modules_to_save", nullptr);
  config.finish(neutral);
  return std::make_unique<PromptTuning>(std::move(prompt), config.where());
}

}  // namespace mpeft::peft
