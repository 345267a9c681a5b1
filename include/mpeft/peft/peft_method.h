#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "mpeft/checkpoint/adapter_folder.h"
#include "mpeft/checkpoint/tensor_map.h"
#include "mpeft/model/mamba_lm.h"

namespace mpeft::peft {

/// A parameter that a method trains.
struct NamedParameter {
  std::string name;       ///< in `adapter_model.safetensors`
  at::Tensor tensor;      ///< the leaf that trains
  std::string site;       ///< what it changes: "backbone.layers.0.mixer.in_proj_x"; methods applied together share none
  double lr_scale = 1.0;  ///< times the learning rate of the run (LoRA+)
  bool weight_decay = true;  ///< false: none, whatever the run's weight decay
};

/// A parameter-efficient fine-tuning method on one model. The life of one: make_peft_method → inject → train →
/// parameters() → merge.
class PeftMethod {
 public:
  virtual ~PeftMethod() = default;

  /// The `peft_type` of its configuration: "LORA".
  virtual std::string type() const = 0;

  /// Puts the method on a model whose parameters are all frozen, on the CPU: adds adapters with their initial values
  /// drawn from `seed` and sets requires_grad on what trains. Throws ConfigError for targets that the model does not
  /// have.
  virtual void inject(model::MambaLM& model, uint64_t seed) = 0;

  /// As inject, to name and count what trains: initial values that are computed from the base weights may be left out,
  /// so a model of uninitialised weights will do.
  virtual void inject_shapes(model::MambaLM& model) { inject(model, /*seed=*/0); }

  /// False when the untrained adapter already changes what the model computes (random values that act at once).
  virtual bool is_identity_at_start() const { return true; }

  /// What trains, in the order of the layers.
  virtual std::vector<NamedParameter> parameters() const = 0;

  /// The content of `adapter_config.json`: every field with its effective value. `base_model` is what the user named.
  virtual std::string config_json(const std::string& base_model) const = 0;

  /// Why no plain Mamba checkpoint computes the same as this adapter on its base; empty when merge() gives one.
  virtual std::string merge_obstacle(const model::MambaLM& model) const = 0;

  /// Adds the trained change to the base weights and removes the adapters; parameters() is empty afterwards. Throws
  /// ConfigError with merge_obstacle() where there is one, before anything has changed.
  virtual void merge(model::MambaLM& model) = 0;

  /// True when merge() changes the model's sizes. Of methods applied together such a one merges last: what the others
  /// change is laid out as in the base.
  virtual bool merge_changes_sizes() const { return false; }

  /// The same adapter as Hugging Face PEFT's, in the files that PEFT loads on the same base; none where PEFT has no
  /// such method or no such target.
  virtual std::optional<checkpoint::AdapterFolder> to_peft(model::MambaLM& model, const std::string& base_model) const;

  /// True when the adapter is nothing but what every text starts from: one state of convolution and scan a layer.
  virtual bool amounts_to_start_states() const { return false; }

  /// What `mpeft export` writes of an adapter that does not merge: the states that it amounts to, under the names of an
  /// SSMPEFT adapter of initial and convolution state, which reads them; else parameters() by name.
  checkpoint::TensorMap export_state(model::MambaLM& model) const;
};

/// Registered names (methods.def), sorted.
std::vector<std::string> peft_method_names();

/// Small configurations of a registered method, one for each of its variants: for tests of every method, and to copy
/// from. Their targets exist in every model.
std::vector<std::string> peft_method_examples(const std::string& name);

/// Builds the method that a JSON configuration describes (Hugging Face PEFT's fields). `where` (the file) starts every
/// message; all problems are thrown at once as ConfigError.
std::unique_ptr<PeftMethod> make_peft_method(const std::string& json_text, const std::string& where);

/// The method of a configuration file, or of several applied together (COMPOSITE). Throws ConfigError.
std::unique_ptr<PeftMethod> make_peft_method_from_files(const std::vector<std::filesystem::path>& files);

/// What trains, under its names in the model, with what `method` says about it (null: full fine-tuning). Of the base's
/// own parameters biases, norms, A_log and D have no weight decay. Call after requires_grad is set.
std::vector<NamedParameter> trained_parameters(model::MambaLM& model, const PeftMethod* method);

}  // namespace mpeft::peft
