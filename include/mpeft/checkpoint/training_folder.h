#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "mpeft/checkpoint/tensor_map.h"

namespace mpeft::checkpoint {

/// A `checkpoint-<step>` folder of a run.
struct TrainingFolder {
  int64_t step = 0;
  std::filesystem::path path;
};

/// Everything a run needs to go on, as names and tensors: what they mean is the caller's business.
struct TrainingState {
  std::map<std::string, TensorMap> tensors;  ///< by group: "optimizer" is `optimizer.safetensors`
  std::string json = "{}";                   ///< `state.json`: a JSON object
};

/// Writes `<run>/checkpoint-<step>`: `fill` puts files (and folders) into the folder it is given; their sizes and
/// SHA-256 go into `files.json`, and then the folder gets its name. A crash at any moment leaves the folders that were
/// there and at most a hidden one that nobody reads. Returns the folder's path. Throws CheckpointError.
std::filesystem::path write_training_folder(const std::filesystem::path& run, int64_t step,
                                            const std::function<void(const std::filesystem::path& folder)>& fill);

/// The files of a TrainingState, written into a folder that is being filled. Throws CheckpointError.
void write_training_state(const std::filesystem::path& folder, const TrainingState& state);

/// Reads what write_training_state wrote; tensors are memory-mapped. Throws CheckpointError.
TrainingState read_training_state(const std::filesystem::path& folder);

/// The checkpoints of a run by rising step, whole or not; empty when the run has none.
std::vector<TrainingFolder> list_training_folders(const std::filesystem::path& run);

/// Compares every file with `files.json`. Throws CheckpointError naming the first file that is missing or differs.
void verify_training_folder(const std::filesystem::path& folder);

/// The checkpoint with the highest step that verify_training_folder accepts; a warning names each damaged one passed
/// over. None when the run has no whole checkpoint.
std::optional<TrainingFolder> latest_training_folder(const std::filesystem::path& run);

/// Removes the checkpoints with the lowest steps until `save_total_limit` are left, those of `keep_steps` (the best,
/// say) not removed and not counted, and what crashed writers left behind. A limit below 1 keeps all. Throws
/// CheckpointError.
void prune_training_folders(const std::filesystem::path& run, int64_t save_total_limit,
                            const std::vector<int64_t>& keep_steps = {});

/// Removes the checkpoint of a step, if there is one: whole, or under its name nothing of it is left. Throws
/// CheckpointError.
void remove_training_folder(const std::filesystem::path& run, int64_t step);

}  // namespace mpeft::checkpoint
