#include <algorithm>
#include <filesystem>
#include <iostream>

#include <nlohmann/json.hpp>

#include "mpeft/checkpoint/model_folder.h"
#include "mpeft/checkpoint/safetensors.h"
#include "mpeft/core/error.h"
#include "mpeft/core/fs.h"
#include "mpeft/core/logging.h"
#include "mpeft/core/strings.h"

#include "app/commands/command.h"
#include "app/merge_adapter.h"

namespace mpeft::app {
namespace {

namespace sfs = std::filesystem;

struct ExportOptions {
  std::string model, adapter, output, dtype, format = "transformers";
  uint64_t seed = 42;
  double tolerance = 1e-4;
  bool json_output = false;
};

// What was written, for the last line or the JSON document.
struct Written {
  std::string kind;  // adapter, model, delta, state
  std::vector<std::string> notes;
};

// One safetensors file in a folder, with the adapter's configuration beside it, and the model's where it is given.
void write_tensor_folder(const sfs::path& folder, const std::string& file, const checkpoint::TensorMap& tensors,
                         const std::string& config_json, const std::string& model_json = "") {
  fs::write_folder_atomic(folder, [&](const sfs::path& temporary) {
    fs::write_file_atomic(temporary / "adapter_config.json", config_json);
    if (!model_json.empty()) fs::write_file_atomic(temporary / "config.json", model_json);
    checkpoint::write_safetensors(temporary / file, tensors, {{"format", "pt"}});
  });
}

Written write_state(const ExportOptions& options, AdaptedModel& adapted, const std::string& obstacle) {
  const auto tensors = adapted.method->export_state(adapted.model);
  Written written{"state", {adapted.method->type() + " does not merge: " + obstacle}};
  if (adapted.method->amounts_to_start_states()) {
    const nlohmann::json config = {{"peft_type", "SSMPEFT"},
                                   {"base_model_name_or_path", options.model},
                                   {"scan", {{"type", "init_state"}, {"init", "zero"}}},
                                   {"conv_init_state", true}};
    checkpoint::write_adapter_folder(options.output, {config.dump(2) + "\n", tensors});
    written.notes.emplace_back(
        "it amounts to states that every text starts from: an SSMPEFT adapter, which --adapter reads");
  } else {
    write_tensor_folder(options.output, "state.safetensors", tensors, adapted.method->config_json(options.model));
    written.notes.emplace_back("state.safetensors holds the adapter's own tensors, adapter_config.json says which");
  }
  return written;
}

std::vector<std::string> notes_for_peft(const std::string& config_json) {
  std::vector<std::string> notes;
  const auto config = nlohmann::json::parse(config_json);
  const auto modules = config.value("target_modules", nlohmann::json::array());  // prompts have none
  const auto touches = [&](const std::string& name) {
    return std::any_of(modules.begin(), modules.end(), [&](const nlohmann::json& module) {
      const auto text = module.get<std::string>();
      return text == name || text.ends_with("." + name);
    });
  };
  if (touches("out_proj")) {
    notes.emplace_back(
        "PEFT refuses out_proj as a target of Mamba models (its check `_check_lora_target_modules_mamba`): to use this "
        "adapter there, write the merged model with --format transformers");
  }
  if (touches("dt_proj")) {
    notes.emplace_back(
        "transformers computes the step size from dt_proj.weight itself: there the adapter on dt_proj acts only after "
        "merge_and_unload()");
  }
  return notes;
}

// The weights that merging changed, whole, by their names in the checkpoint.
checkpoint::TensorMap changed_weights(const ExportOptions& options, model::MambaLM& merged) {
  auto base = model::make_model(options.model, options.seed).model;
  const auto originals = base->named_parameters();
  checkpoint::TensorMap changed;
  for (const auto& item : merged->named_parameters()) {
    const at::Tensor* original = originals.find(item.key());
    const at::Tensor value = item.value().detach();
    if (original == nullptr || original->sizes() != value.sizes() || !at::equal(original->to(at::kFloat), value))
      changed.emplace(item.key(), value);
  }
  return changed;
}

Written export_adapter(const ExportOptions& options) {
  auto adapted = load_adapted(options.model, options.adapter, options.seed);
  auto& method = *adapted.method;
  const std::string config = method.config_json(options.model);
  if (options.format == "peft") {
    if (const auto folder = method.to_peft(adapted.model, options.model)) {
      checkpoint::write_adapter_folder(options.output, *folder);
      return {"adapter", notes_for_peft(folder->config_json)};
    }
  }
  if (const auto obstacle = method.merge_obstacle(adapted.model); !obstacle.empty()) {
    return write_state(options, adapted, obstacle);
  }
  const std::string sizes_before = adapted.model->config().to_json();
  const double worst = merge_checked(adapted, options.tolerance);
  Written written{"model", {mpeft::str("merged; logits before and after differ by ", worst, " (relative L2)")}};
  if (options.format == "peft") {
    const std::string sizes = adapted.model->config().to_json();
    const bool has_other_sizes = sizes != sizes_before;
    write_tensor_folder(options.output, "delta.safetensors", changed_weights(options, adapted.model), config,
                        has_other_sizes ? sizes : "");
    written.kind = "delta";
    // Of LoRAs it refuses those on the convolution alone: their rank would have to be a multiple of the channels.
    const char* const why = method.type() == "LORA" ? ", which has an adapter on the depthwise convolution" : "";
    written.notes.insert(written.notes.begin(),
                         mpeft::str("PEFT cannot say this ", method.type(), why,
                                    ": the file holds every weight of the base that has changed, whole"));
    if (has_other_sizes) written.notes.emplace_back("the model has other sizes now: config.json says which");
    return written;
  }
  round_weights(adapted, options.dtype);
  if (options.format == "transformers") {
    model::save_model(adapted.model, options.output, files_beside(adapted.source));
  } else {
    model::save_state_spaces_model(adapted.model, options.output, files_beside(adapted.source));
  }
  return written;
}

}  // namespace

void add_export_command(CLI::App& app) {
  auto options = std::make_shared<ExportOptions>();
  auto* command = app.add_subcommand("export", "write an adapter in the form that other programs read");
  command->footer(
      "  peft          an adapter of Hugging Face PEFT: slices become adapters of the whole projections, exactly;\n"
      "                for a method that PEFT has not, the changed weights (delta.safetensors)\n"
      "  transformers  the merged model: config.json and model.safetensors\n"
      "  state-spaces  the merged model: config.json and pytorch_model.bin, as mamba_ssm reads them\n"
      "An adapter that does not merge is written as the states that texts start from (an SSMPEFT adapter), where it\n"
      "amounts to that, or as its own tensors (state.safetensors); which, is said.\n"
      "  mpeft export --model weights/quickstart/base/model --adapter weights/quickstart/lora/adapter --format peft "
      "--output for-peft");
  command->add_option("--model", options->model, "the base: folder, hub id, or a size of cfg/models (random weights)")
      ->required();
  command->add_option("--adapter", options->adapter, "adapter folder")->required();
  command->add_option("--format", options->format, "peft, transformers or state-spaces")
      ->check(CLI::IsMember({"peft", "transformers", "state-spaces"}))
      ->capture_default_str();
  command->add_option("--output", options->output, "folder to write")->required();
  add_dtype_option(*command, options->dtype);
  command->add_option("--seed", options->seed, "for random weights")->capture_default_str();
  command->add_option("--tolerance", options->tolerance, "largest relative L2 difference of the logits when merging")
      ->capture_default_str();
  command->add_flag("--json", options->json_output, "one JSON document on standard output");
  command->callback([options] {
    if (sfs::exists(options->output)) throw ConfigError(options->output + ": exists already; name another --output");
    const Written written = export_adapter(*options);
    if (options->json_output) {
      std::cout
          << nlohmann::json({{"output", options->output}, {"kind", written.kind}, {"notes", written.notes}}).dump()
          << '\n';
    }
    log::info(mpeft::str("wrote ", options->output, " (", written.kind, ")"));
    for (const auto& note : written.notes) log::info("  " + note);
  });
}

}  // namespace mpeft::app
