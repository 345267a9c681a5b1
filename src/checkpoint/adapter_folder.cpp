#include "mpeft/checkpoint/adapter_folder.h"

#include "mpeft/checkpoint/safetensors.h"
#include "mpeft/checkpoint/torch_zip.h"
#include "mpeft/core/fs.h"

#include "checkpoint/json_file.h"
#include "checkpoint/messages.h"

namespace mpeft::checkpoint {
namespace {

using std::filesystem::path;

constexpr const char* kConfig = "adapter_config.json";
constexpr const char* kWeights = "adapter_model.safetensors";
constexpr const char* kOldWeights = "adapter_model.bin";
constexpr uint64_t kLargestConfig = uint64_t{16} << 20;

}  // namespace

bool is_adapter_folder(const path& folder) { return is_file(folder / kConfig); }

AdapterFolder read_adapter_folder(const path& folder) {
  if (!is_adapter_folder(folder)) {
    const bool is_model = is_file(folder / "config.json");
    fail(folder.string(), ": not an adapter folder: it has no ", kConfig,
         is_model ? " (it looks like a base model)" : "");
  }
  AdapterFolder adapter;
  adapter.config_json = read_text(folder / kConfig, kLargestConfig);
  parse_json_object(adapter.config_json, (folder / kConfig).string());
  if (is_file(folder / kWeights)) {
    adapter.tensors = read_safetensors(folder / kWeights);
  } else if (is_file(folder / kOldWeights)) {
    adapter.tensors = read_torch_zip(folder / kOldWeights);
  } else {
    fail(folder.string(), ": the adapter has no weights: looked for ", kWeights, ", ", kOldWeights);
  }
  return adapter;
}

void write_adapter_files(const path& folder, const AdapterFolder& adapter) {
  parse_json_object(adapter.config_json, (folder / kConfig).string());
  try {
    fs::write_file_atomic(folder / kConfig, adapter.config_json);
  } catch (const DataError& e) {
    throw CheckpointError(e.what());
  }
  write_safetensors(folder / kWeights, adapter.tensors, {{"format", "pt"}});
}

void write_adapter_folder(const path& folder, const AdapterFolder& adapter) {
  try {
    fs::write_folder_atomic(folder, [&](const path& temporary) { write_adapter_files(temporary, adapter); });
  } catch (const DataError& e) {
    throw CheckpointError(e.what());
  }
}

}  // namespace mpeft::checkpoint
