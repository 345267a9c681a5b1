// Weight files of a model folder: one file or an index with shards.
#include <algorithm>
#include <array>
#include <set>

#include "mpeft/checkpoint/model_folder.h"
#include "mpeft/checkpoint/safetensors.h"
#include "mpeft/checkpoint/torch_zip.h"

#include "checkpoint/json_file.h"
#include "checkpoint/messages.h"
#include "checkpoint/weight_names.h"

namespace mpeft::checkpoint {
namespace {

using std::filesystem::path;
using Reader = TensorMap (*)(const path&);

struct WeightKind {
  const char* name;
  Reader read;
  bool is_index;
};

constexpr std::array<WeightKind, 4> kKinds = {{{kSafetensors, read_safetensors, false},
                                               {kSafetensorsIndex, read_safetensors, true},
                                               {kTorchZip, read_torch_zip, false},
                                               {kTorchZipIndex, read_torch_zip, true}}};

bool is_there(const path& p) {
  std::error_code ignored;
  return std::filesystem::exists(p, ignored);
}

const WeightKind& kind_of(const path& folder) {
  std::vector<std::string> names;
  for (const WeightKind& kind : kKinds) {
    if (is_there(folder / kind.name)) return kind;
    if (std::filesystem::is_symlink(folder / kind.name)) {
      fail((folder / kind.name).string(),
           ": the link leads nowhere: the download is incomplete or its blob was removed");
    }
    names.push_back(kind.name);
  }
  fail(folder.string(), ": no weights: looked for ", join(names, ", "));
}

// An index: shard by tensor name.
std::map<std::string, std::string> read_index(const path& index) {
  const nlohmann::json json = read_json_object(index);
  const auto weights = json.find("weight_map");
  if (weights == json.end() || !weights->is_object())
    fail(index.string(), ": 'weight_map' is missing or not an object");
  if (weights->empty()) fail(index.string(), ": 'weight_map' is empty");
  std::map<std::string, std::string> shards;
  for (const auto& [tensor, shard] : weights->items()) {
    if (!shard.is_string()) fail(index.string(), ": tensor ", quote(tensor), ": expected the name of a file");
    const std::string name = shard.get<std::string>();
    // The index comes with the download: it must not make us open files elsewhere.
    if (name.empty() || name == "." || name == ".." || name.find('/') != std::string::npos ||
        name.find('\\') != std::string::npos || name.find('\0') != std::string::npos) {
      fail(index.string(), ": tensor ", quote(tensor), ": refused: ", quote(name), " is not the plain name of a file");
    }
    shards[tensor] = name;
  }
  return shards;
}

std::set<std::string> shard_names(const path& index, const std::map<std::string, std::string>& shard_of) {
  std::set<std::string> names;
  std::set<std::string> missing;
  for (const auto& [tensor, shard] : shard_of) {
    (is_there(index.parent_path() / shard) ? names : missing).insert(printable(shard));
  }
  if (!missing.empty()) {
    fail(index.string(), ": ", missing.size(), " of ", missing.size() + names.size(),
         " shards are missing: ", join({missing.begin(), missing.end()}, ", "), "; fetch the model again");
  }
  return names;
}

TensorMap read_shards(const path& index, Reader read) {
  const auto shard_of = read_index(index);
  TensorMap all;
  for (const std::string& shard : shard_names(index, shard_of)) {
    const path file = index.parent_path() / shard;
    for (auto& [name, tensor] : read(file)) {
      const auto listed = shard_of.find(name);
      if (listed == shard_of.end())
        fail(file.string(), ": tensor ", quote(name), " is not in ", index.filename().string());
      if (listed->second != shard) {
        fail(file.string(), ": tensor ", quote(name), " should be in ", printable(listed->second), " by ",
             index.filename().string());
      }
      all.emplace(name, std::move(tensor));
    }
  }
  for (const auto& [name, shard] : shard_of) {
    if (all.count(name) == 0) {
      fail((index.parent_path() / shard).string(), ": tensor ", quote(name), " is missing; ", index.filename().string(),
           " says that it is here");
    }
  }
  return all;
}

}  // namespace

TensorMap read_model_weights(const path& folder) {
  const WeightKind& kind = kind_of(folder);
  return kind.is_index ? read_shards(folder / kind.name, kind.read) : kind.read(folder / kind.name);
}

std::vector<path> model_weight_files(const path& folder) {
  const WeightKind& kind = kind_of(folder);
  std::vector<path> files = {folder / kind.name};
  if (kind.is_index) {
    for (const std::string& shard : shard_names(files[0], read_index(files[0]))) files.push_back(folder / shard);
  }
  return files;
}

}  // namespace mpeft::checkpoint
