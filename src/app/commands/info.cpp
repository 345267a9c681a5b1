#include <filesystem>
#include <iostream>

#include <nlohmann/json.hpp>

#include "mpeft/checkpoint/model_folder.h"
#include "mpeft/checkpoint/safetensors.h"
#include "mpeft/core/error.h"
#include "mpeft/core/fs.h"
#include "mpeft/core/json.h"
#include "mpeft/core/strings.h"
#include "mpeft/data/dataset.h"
#include "mpeft/metrics/metric.h"
#include "mpeft/peft/peft_method.h"
#include "mpeft/train/device.h"

#include "app/commands/command.h"
#include "app/version.h"

namespace mpeft::app {
namespace {

using nlohmann::json;
namespace sfs = std::filesystem;

json describe_tensors(const checkpoint::TensorMap& tensors) {
  json list = json::array();
  for (const auto& [name, tensor] : tensors) {
    list.push_back({{"name", name}, {"dtype", c10::toString(tensor.scalar_type())}, {"shape", tensor.sizes().vec()}});
  }
  return list;
}

json read_json(const sfs::path& path, uint64_t max_bytes) {
  return parse_json_or_throw<CheckpointError>(fs::read_file(path, max_bytes), path.string());
}

json describe_path(const std::string& what) {
  const sfs::path path(what);
  if (path.extension() == ".safetensors")
    return {{"kind", "safetensors file"}, {"tensors", describe_tensors(checkpoint::read_safetensors(path))}};
  if (sfs::exists(path / "adapter_config.json")) {
    return {{"kind", "adapter"},
            {"config", read_json(path / "adapter_config.json", 4 << 20)},
            {"tensors", describe_tensors(checkpoint::read_safetensors(path / "adapter_model.safetensors"))}};
  }
  if (sfs::exists(path / "state.json")) {
    json result = {{"kind", "training checkpoint"}, {"state", read_json(path / "state.json", 4 << 20)}};
    for (const char* part : {"adapter", "model"}) {
      if (sfs::exists(path / part)) result[part] = (path / part).string();
    }
    return result;
  }
  if (sfs::exists(path / "manifest.json")) {
    return {{"kind", "run"}, {"manifest", read_json(path / "manifest.json", 64 << 20)}};
  }
  if (!sfs::exists(path) && (path.is_absolute() || what.starts_with("."))) {
    throw CheckpointError(what +
                          ": no such file or folder; expected a .safetensors file, the folder of an adapter, a "
                          "checkpoint, a run or a model, or a model id in the hub cache");
  }
  const auto folder = checkpoint::find_model_folder(what);
  return {{"kind", "model"},
          {"folder", folder.path.string()},
          {"config", read_json(folder.path / "config.json", 1 << 20)},
          {"tensors", describe_tensors(checkpoint::read_model_weights(folder.path))}};
}

json describe_program() {
  return {{"version", version()},
          {"commit", git_commit()},
          {"device", train::describe_device(train::resolve_device(""))},
          {"datasets", data::dataset_names()},
          {"metrics", metrics::metric_names()},
          {"peft_methods", peft::peft_method_names()}};
}

void print_for_people(const json& value) {
  for (const auto& [key, item] : value.items()) {
    if (key == "tensors") {
      int64_t total = 0;
      for (const auto& tensor : item) {
        int64_t count = 1;
        for (const auto& size : tensor.at("shape")) count *= size.get<int64_t>();
        total += count;
        std::cout << "  " << tensor.at("name").get<std::string>() << "  " << tensor.at("dtype").get<std::string>()
                  << "  " << tensor.at("shape").dump() << '\n';
      }
      std::cout << "tensors  " << item.size() << ", " << with_thousands(total) << " values\n";
    } else {
      std::cout << key << "  " << (item.is_string() ? item.get<std::string>() : item.dump(item.is_object() ? 2 : -1))
                << '\n';
    }
  }
}

}  // namespace

void add_info_command(CLI::App& app) {
  struct Options {
    std::string what;
    bool json_output = false;
  };
  auto options = std::make_shared<Options>();
  auto* command = app.add_subcommand("info", "what a folder or file holds; without one: what this program knows");
  command->footer("  mpeft info weights/quickstart/lora/adapter");
  command->add_option("what", options->what, "model, adapter, run or checkpoint folder, .safetensors file, hub id");
  command->add_flag("--json", options->json_output, "one JSON document on standard output");
  command->callback([options] {
    const json result = options->what.empty() ? describe_program() : describe_path(options->what);
    if (options->json_output) {
      std::cout << result.dump(-1, ' ', false, json::error_handler_t::replace) << '\n';
    } else {
      print_for_people(result);
    }
  });
}

}  // namespace mpeft::app
