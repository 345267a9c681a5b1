#include "mpeft/checkpoint/training_folder.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <sys/types.h>

#include "mpeft/checkpoint/safetensors.h"
#include "mpeft/core/check.h"
#include "mpeft/core/fs.h"
#include "mpeft/core/logging.h"

#include "checkpoint/file_manifest.h"
#include "checkpoint/json_file.h"
#include "checkpoint/messages.h"

namespace mpeft::checkpoint {
namespace {

using std::filesystem::path;

constexpr std::string_view kPrefix = "checkpoint-";
constexpr std::string_view kTensorEnding = ".safetensors";
constexpr const char* kStateFile = "state.json";
constexpr std::string_view kDoomed = ".removing-";

// All errors of the file system below `what` become CheckpointError.
template <typename Action>
void guarded(const path& what, const Action& action) {
  try {
    action();
  } catch (const DataError& e) {
    throw CheckpointError(e.what());
  } catch (const std::filesystem::filesystem_error& e) {
    fail(what.string(), ": ", e.code().message());
  }
}

template <typename Integer>
std::optional<Integer> parse_number(std::string_view text) {
  Integer value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0) return std::nullopt;
  return value;
}

// The step of "checkpoint-<step>"; names that write_training_folder would not give are none of ours.
std::optional<int64_t> step_of(std::string_view name) {
  if (name.substr(0, kPrefix.size()) != kPrefix) return std::nullopt;
  const auto step = parse_number<int64_t>(name.substr(kPrefix.size()));
  return step && str(kPrefix, *step) == name ? step : std::nullopt;
}

// A hidden folder of a writer that is no more: ".checkpoint-5.tmp-1234" and the like.
bool is_left_behind(std::string_view name) {
  if (name.substr(0, kDoomed.size()) == kDoomed) return true;
  if (name.substr(0, 1) != "." || name.substr(1, kPrefix.size()) != kPrefix) return false;
  for (const std::string_view mark : {".tmp-", ".old-"}) {
    const size_t at = name.rfind(mark);
    if (at == std::string_view::npos) continue;
    const auto pid = parse_number<pid_t>(name.substr(at + mark.size()));
    if (pid && *pid > 0 && ::kill(*pid, 0) != 0 && errno == ESRCH) return true;
  }
  return false;
}

void check_group_name(const std::string& name) {
  const bool is_plain =
      !name.empty() && name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_-") == std::string::npos;
  MPEFT_ASSERT(is_plain, "group of tensors named ", quote(name));
}

}  // namespace

path write_training_folder(const path& run, int64_t step, const std::function<void(const path& folder)>& fill) {
  MPEFT_ASSERT(step >= 0, "step ", step);
  const path folder = run / str(kPrefix, step);
  guarded(folder, [&] {
    fs::write_folder_atomic(folder, [&](const path& temporary) {
      fill(temporary);
      write_file_manifest(temporary);
    });
  });
  return folder;
}

void write_training_state(const path& folder, const TrainingState& state) {
  parse_json_object(state.json, (folder / kStateFile).string());
  guarded(folder, [&] {
    for (const auto& [name, tensors] : state.tensors) {
      check_group_name(name);
      write_safetensors(folder / str(name, kTensorEnding), tensors);
    }
    fs::write_file_atomic(folder / kStateFile, state.json);
  });
}

TrainingState read_training_state(const path& folder) {
  TrainingState state;
  state.json = read_text(folder / kStateFile);
  parse_json_object(state.json, (folder / kStateFile).string());
  for (const std::string& name : fs::list_folder(folder)) {
    if (name.size() <= kTensorEnding.size() || !name.ends_with(kTensorEnding)) continue;
    state.tensors.emplace(name.substr(0, name.size() - kTensorEnding.size()), read_safetensors(folder / name));
  }
  return state;
}

std::vector<TrainingFolder> list_training_folders(const path& run) {
  std::vector<TrainingFolder> found;
  for (const std::string& name : fs::list_folder(run)) {
    std::error_code ignored;
    const auto step = step_of(name);
    if (step && std::filesystem::is_directory(run / name, ignored)) found.push_back({*step, run / name});
  }
  std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.step < b.step; });
  return found;
}

void verify_training_folder(const path& folder) {
  guarded(folder, [&] { verify_file_manifest(folder); });
}

std::optional<TrainingFolder> latest_training_folder(const path& run) {
  auto folders = list_training_folders(run);
  for (; !folders.empty(); folders.pop_back()) {
    try {
      verify_training_folder(folders.back().path);
      return folders.back();
    } catch (const CheckpointError& e) {
      const bool is_last = folders.size() == 1;
      log::warning(str(folders.back().path.string(), " is damaged and passed over",
                       is_last ? "" : ", going back to the checkpoint before it", " (", e.what(), ")"));
    }
  }
  return std::nullopt;
}

void prune_training_folders(const path& run, int64_t save_total_limit, const std::vector<int64_t>& keep_steps) {
  guarded(run, [&] {
    for (const std::string& name : fs::list_folder(run)) {
      if (is_left_behind(name)) std::filesystem::remove_all(run / name);
    }
    if (save_total_limit < 1) return;
    auto folders = list_training_folders(run);
    std::erase_if(folders, [&](const TrainingFolder& folder) {
      return std::find(keep_steps.begin(), keep_steps.end(), folder.step) != keep_steps.end();
    });
    const int64_t n_extra = static_cast<int64_t>(folders.size()) - save_total_limit;
    for (int64_t i = 0; i < n_extra; ++i) remove_training_folder(run, folders[static_cast<size_t>(i)].step);
  });
}

void remove_training_folder(const path& run, int64_t step) {
  const path folder = run / str(kPrefix, step), doomed = run / str(kDoomed, kPrefix, step);
  guarded(folder, [&] {
    if (!std::filesystem::exists(folder)) return;
    // Renamed first: a crash in the middle must not leave half a checkpoint under its name.
    std::filesystem::rename(folder, doomed);
    std::filesystem::remove_all(doomed);
  });
}

}  // namespace mpeft::checkpoint
