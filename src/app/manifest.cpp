#include "app/manifest.h"

#include <algorithm>
#include <functional>

#include <nlohmann/json.hpp>
#include <torch/version.h>

#include "mpeft/core/error.h"
#include "mpeft/core/fs.h"
#include "mpeft/core/json.h"
#include "mpeft/core/strings.h"

#include "app/version.h"

namespace mpeft::app {
namespace {

using nlohmann::json;

json hashes(const std::vector<std::filesystem::path>& files) {
  json result = json::object();
  for (const auto& file : files) result[file.string()] = "sha256:" + fs::sha256_file(file);
  return result;
}

// The hashes alone, of one text or of all values: files may have moved.
std::vector<std::string> contents(const json& hashes) {
  std::vector<std::string> result;
  for (const auto& hash : hashes) result.push_back(hash.dump());  // of a text: itself
  std::sort(result.begin(), result.end());
  return result;
}

// What a manifest does not say, one of an older version, is not asked.
void require_same_sources(const json& before, const json& now, const std::string& output_dir) {
  const auto require = [&](const char* key, const std::string& what, const auto& agree) {
    if (!before.is_object() || !before.contains(key) || agree(before[key], now[key])) return;
    throw CheckpointError(mpeft::str(output_dir, ": the run began with other ", what,
                                     " than there are now (manifest.json names them): --resume would mix the two. "
                                     "Put the old ones back, or start anew with --overwrite"));
  };
  const auto are_equal = [](const json& a, const json& b) { return contents(a) == contents(b); };
  // Evaluation may be switched on or off on the way, and its files with it.
  const auto is_evaluated = [](const json& manifest) { return manifest.value("first_metric", json("")) != json(""); };
  const bool is_switched = before.is_object() && is_evaluated(before) != is_evaluated(now);
  const auto agree_as_far_as_read = [&](const json& a, const json& b) {
    const auto one = contents(a), other = contents(b);
    return one == other || (is_switched && (std::ranges::includes(one, other) || std::ranges::includes(other, one)));
  };
  require("weights", "weights of the base model", are_equal);
  require("data", "data", agree_as_far_as_read);
  require("tokenizer", "tokenizer files", are_equal);
  require("sizes", "sizes of the model", std::equal_to<json>());
}

}  // namespace

void write_manifest(const Manifest& manifest, bool goes_on) {
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
                 {"sizes", json::parse(manifest.sizes)},
                 {"trainable_parameters", manifest.n_trainable},
                 {"total_parameters", manifest.n_total},
                 {"total_steps", manifest.total_steps},
                 {"first_metric", manifest.first_metric},
                 {"debug", manifest.config.debug},
                 {"finished", false}};
  for (const auto& [stage, n_trainable, n_total] : manifest.stages) {
    json entry = {{"stage", stage.number}, {"trainable_parameters", n_trainable}, {"total_parameters", n_total}};
    if (!stage.name.empty()) entry["name"] = stage.name;
    if (stage.steps > 0) entry["steps"] = stage.steps;
    object["stages"].push_back(entry);
  }
  const auto path = std::filesystem::path(manifest.config.output_dir) / "manifest.json";
  if (goes_on && std::filesystem::exists(path)) {
    require_same_sources(json::parse(fs::read_file(path, 64 << 20), nullptr, /*allow_exceptions=*/false), object,
                         manifest.config.output_dir);
  }
  fs::write_file_atomic(path, object.dump(2) + "\n");
}

void mark_finished(const std::filesystem::path& output_dir) {
  const auto path = output_dir / "manifest.json";
  auto object = parse_json_or_throw<DataError>(fs::read_file(path, 64 << 20), path.string());
  object["finished"] = true;
  fs::write_file_atomic(path, object.dump(2) + "\n");
}

}  // namespace mpeft::app
