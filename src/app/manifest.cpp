#include "app/manifest.h"

#include <nlohmann/json.hpp>
#include <torch/version.h>

#include "mpeft/core/fs.h"

#include "app/version.h"

namespace mpeft::app {
namespace {

using nlohmann::json;

json hashes(const std::vector<std::filesystem::path>& files) {
  json result = json::object();
  for (const auto& file : files) result[file.string()] = "sha256:" + fs::sha256_file(file);
  return result;
}

}  // namespace

void write_manifest(const Manifest& manifest) {
  json object = {{"program", "mamba-peft " + version()},
                 {"commit", git_commit()},
                 {"libtorch", TORCH_VERSION},
                 {"experiment", manifest.config.path},
                 {"seed", manifest.config.seed},
                 {"precision", manifest.config.prec},
                 {"device", manifest.device},
                 {"model", manifest.model.description},
                 {"weights", hashes(manifest.model.weight_files)},
                 {"data", hashes(manifest.data_files)},
                 {"tokenizer", manifest.tokenizer_fingerprint},
                 {"trainable_parameters", manifest.n_trainable},
                 {"total_parameters", manifest.n_total},
                 {"total_steps", manifest.total_steps},
                 {"first_metric", manifest.first_metric},
                 {"finished", false}};
  for (const auto& [stage, n_trainable, n_total] : manifest.stages) {
    json entry = {{"stage", stage.number}, {"trainable_parameters", n_trainable}, {"total_parameters", n_total}};
    if (!stage.name.empty()) entry["name"] = stage.name;
    if (stage.steps > 0) entry["steps"] = stage.steps;
    object["stages"].push_back(entry);
  }
  fs::write_file_atomic(std::filesystem::path(manifest.config.output_dir) / "manifest.json", object.dump(2) + "\n");
}

void mark_finished(const std::filesystem::path& output_dir) {
  const auto path = output_dir / "manifest.json";
  json object = json::parse(fs::read_file(path, 64 << 20));
  object["finished"] = true;
  fs::write_file_atomic(path, object.dump(2) + "\n");
}

}  // namespace mpeft::app
