#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "mpeft/checkpoint/tensor_map.h"
#include "mpeft/model/mamba_lm.h"

namespace mpeft::peft {

/// A parameter that a method trains, under the name it has in `adapter_model.safetensors`.
struct NamedParameter {
  std::string name;
  at::Tensor tensor;
};

/// A parameter-efficient fine-tuning method on one model. The life of one: make_peft_method → inject → train →
/// parameters().
class PeftMethod {
 public:
  virtual ~PeftMethod() = default;

  /// The `peft_type` of its configuration: "LORA".
  virtual std::string type() const = 0;

  /// Puts the method on a model whose parameters are all frozen, on the CPU: adds adapters with their initial values
  /// drawn from `seed` and sets requires_grad on what trains. Throws ConfigError for targets that the model does not
  /// have.
  virtual void inject(model::MambaLM& model, uint64_t seed) = 0;

  /// What trains, in the order of the layers.
  virtual std::vector<NamedParameter> parameters() const = 0;

  /// The content of `adapter_config.json`: every field with its effective value. `base_model` is what the user named.
  virtual std::string config_json(const std::string& base_model) const = 0;

  /// Adds the trained change to the base weights and removes the adapters; parameters() is empty afterwards. Throws
  /// ConfigError when the method does not merge.
  virtual void merge(model::MambaLM& model) = 0;
};

/// Registered names (methods.def), sorted.
std::vector<std::string> peft_method_names();

/// Builds the method that a JSON configuration describes (Hugging Face PEFT's fields). `where` (the file) starts every
/// message; all problems are thrown at once as ConfigError.
std::unique_ptr<PeftMethod> make_peft_method(const std::string& json_text, const std::string& where);

}  // namespace mpeft::peft
