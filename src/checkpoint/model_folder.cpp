#include "mpeft/checkpoint/model_folder.h"

#include "mpeft/checkpoint/safetensors.h"
#include "mpeft/core/fs.h"

#include "checkpoint/json_file.h"
#include "checkpoint/messages.h"
#include "checkpoint/torch_zip_writer.h"
#include "checkpoint/weight_names.h"

namespace mpeft::checkpoint {
namespace {

constexpr const char* kHead = "lm_head.weight";
constexpr const char* kEmbeddings = "backbone.embeddings.weight";

// state-spaces and transformers name the same flag differently; both default to tied.
bool is_tied_by(const nlohmann::json& config) {
  for (const char* key : {"tie_word_embeddings", "tie_embeddings"}) {
    const auto value = config.find(key);
    if (value != config.end() && value->is_boolean()) return value->get<bool>();
  }
  return true;
}

bool is_same_memory(const at::Tensor& a, const at::Tensor& b) {
  return a.is_alias_of(b) && a.data_ptr() == b.data_ptr() && a.sizes() == b.sizes() && a.strides() == b.strides();
}

void copy_files(const std::vector<std::filesystem::path>& files, const fs::Path& folder) {
  for (const auto& file : files) fs::write_file_atomic(folder / file.filename(), fs::read_file(file));
}

}  // namespace

std::string canonical_tensor_name(const std::string& name) {
  return name == "backbone.embedding.weight" ? kEmbeddings : name;
}

TensorMap with_canonical_names(TensorMap tensors, const std::string& where) {
  TensorMap renamed;
  while (!tensors.empty()) {
    auto node = tensors.extract(tensors.begin());
    const std::string name = node.key();
    node.key() = canonical_tensor_name(name);
    if (!renamed.insert(std::move(node)).inserted) {
      fail(where, ": two tensors are spellings of ", quote(canonical_tensor_name(name)));
    }
  }
  return renamed;
}

void save_model_folder(const std::filesystem::path& path, const TensorMap& tensors, const std::string& config_json,
                       const std::vector<std::filesystem::path>& more_files) {
  const nlohmann::json config = parse_json_object(config_json, (path / "config.json").string());
  TensorMap written = tensors;
  const auto head = written.find(kHead);
  const auto embeddings = written.find(kEmbeddings);
  if (head != written.end() && embeddings != written.end() && is_tied_by(config) &&
      is_same_memory(head->second, embeddings->second)) {
    written.erase(head);
  }
  try {
    fs::write_folder_atomic(path, [&](const fs::Path& folder) {
      fs::write_file_atomic(folder / "config.json", config_json);
      // transformers refuses files whose metadata do not name the framework.
      write_safetensors(folder / kSafetensors, written, {{"format", "pt"}});
      copy_files(more_files, folder);
    });
  } catch (const DataError& e) {
    throw CheckpointError(e.what());
  }
}

void save_state_spaces_folder(const std::filesystem::path& path, TensorMap tensors, const std::string& config_json,
                              const std::vector<std::filesystem::path>& more_files) {
  parse_json_object(config_json, (path / "config.json").string());
  if (auto node = tensors.extract(kEmbeddings)) {
    node.key() = "backbone.embedding.weight";
    tensors.insert(std::move(node));
  }
  try {
    fs::write_folder_atomic(path, [&](const fs::Path& folder) {
      fs::write_file_atomic(folder / "config.json", config_json);
      write_torch_zip(folder / kTorchZip, tensors);
      copy_files(more_files, folder);
    });
  } catch (const DataError& e) {
    throw CheckpointError(e.what());
  }
}

}  // namespace mpeft::checkpoint
