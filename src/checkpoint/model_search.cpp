// Where models lie: local folders and the hub cache.
#include <algorithm>
#include <cstdlib>

#include "mpeft/checkpoint/model_folder.h"
#include "mpeft/core/fs.h"

#include "checkpoint/json_file.h"
#include "checkpoint/messages.h"
#include "checkpoint/weight_names.h"

namespace mpeft::checkpoint {
namespace {

using std::filesystem::path;

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

bool is_folder(const path& p) {
  std::error_code ignored;
  return std::filesystem::is_directory(p, ignored);
}

// "name" or "org/name" as the hub allows them; nothing that could lead elsewhere in the file system.
bool is_hub_id(const std::string& id) {
  if (id.empty() || id.size() > 192 || std::count(id.begin(), id.end(), '/') > 1) return false;
  for (const std::string& part : split(id, '/')) {
    if (part.empty() || part.front() == '.' || part.find("..") != std::string::npos ||
        part.find("--") != std::string::npos) {
      return false;
    }
    for (const char c : part) {
      const bool is_word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
      if (!is_word && c != '-' && c != '_' && c != '.') return false;
    }
  }
  return true;
}

bool has_weights(const path& folder) {
  return std::any_of(kWeightNames.begin(), kWeightNames.end(),
                     [&](const char* name) { return is_file(folder / name); });
}

// "" when the folder holds a whole model, else what it lacks.
std::string what_lacks(const path& folder) {
  if (!is_file(folder / "config.json")) return "config.json";
  return has_weights(folder) ? "" : "weights (model.safetensors or pytorch_model.bin, or their index)";
}

// The commit that refs/main names; "" when there is none.
std::string main_commit(const path& repository) {
  const path ref = repository / "refs" / "main";
  if (!is_file(ref)) return "";
  const std::string commit(trim(read_text(ref, 4096)));
  const bool is_hex =
      !commit.empty() && commit.size() <= 64 && commit.find_first_not_of("0123456789abcdef") == std::string::npos;
  if (!is_hex)
    fail(ref.string(), ": ", quote(commit), " is not a commit: the cache is corrupt, remove ", repository.string());
  return commit;
}

// Snapshots, the one of refs/main first, then the newest.
std::vector<path> snapshots_of(const path& repository) {
  struct Snapshot {
    bool is_main;
    std::filesystem::file_time_type time;
    path folder;
  };
  const std::string main = main_commit(repository);
  std::vector<Snapshot> found;
  for (const std::string& commit : fs::list_folder(repository / "snapshots")) {
    const path folder = repository / "snapshots" / commit;
    std::error_code ignored;
    if (is_folder(folder)) found.push_back({commit == main, std::filesystem::last_write_time(folder, ignored), folder});
  }
  std::stable_sort(found.begin(), found.end(), [](const Snapshot& a, const Snapshot& b) {
    return a.is_main != b.is_main ? a.is_main : a.time > b.time;
  });
  std::vector<path> folders;
  for (const Snapshot& snapshot : found) folders.push_back(snapshot.folder);
  return folders;
}

// With the home folder as "~".
std::string shown(const path& p) {
  const std::string home = environment("HOME");
  const std::string text = p.string();
  return !home.empty() && text.rfind(home + "/", 0) == 0 ? "~" + text.substr(home.size()) : text;
}

// The published size whose name the id contains, else the smallest.
std::string random_model_for(const std::string& id) {
  for (const char* size : {"370m", "790m", "1.4b", "2.8b"}) {
    if (to_lower(id).find(size) != std::string::npos) return str("cfg/models/", size, ".yaml");
  }
  return "cfg/models/130m.yaml";
}

std::string remedies(const std::string& id, bool is_downloadable) {
  std::string out;
  if (is_downloadable) out += "\n  fetch it on a machine with a network:  hf download " + id;
  return out + (is_downloadable ? "\n  or try" : "\n  try") +
         " the pipeline without it:         train --cfg … --model " + random_model_for(id) + "   (random weights)";
}

path repository_folder(const std::string& id) { return hub_cache_folder() / ("models--" + join(split(id, '/'), "--")); }

}  // namespace

std::vector<path> hub_snapshots(const std::string& id) {
  return is_hub_id(id) ? snapshots_of(repository_folder(id)) : std::vector<path>();
}

path hub_cache_folder() {
  for (const char* name : {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"}) {
    if (const std::string folder = environment(name); !folder.empty()) return folder;
  }
  if (const std::string home = environment("HF_HOME"); !home.empty()) return path(home) / "hub";
  if (const std::string cache = environment("XDG_CACHE_HOME"); !cache.empty())
    return path(cache) / "huggingface" / "hub";
  return path(environment("HOME")) / ".cache" / "huggingface" / "hub";
}

ModelFolder find_model_folder(const std::string& path_or_id) {
  const std::string model = "model " + printable(path_or_id);
  const path local(path_or_id);
  if (path_or_id.empty()) fail("model: the name is empty; give a folder or an id such as state-spaces/mamba-130m");
  if (path_or_id.find('\0') != std::string::npos) fail(model, ": the name holds a zero byte");
  if (is_folder(local)) {
    const std::string lacking = what_lacks(local);
    if (!lacking.empty()) fail(model, ": the folder has no ", lacking);
    return {local, path_or_id};
  }
  if (is_file(local)) fail(model, ": is a file; give the folder that holds config.json and the weights");
  if (!is_hub_id(path_or_id)) fail(model, ": no such folder, and no model id either", remedies(path_or_id, false));

  const std::vector<path> snapshots = hub_snapshots(path_or_id);
  for (const path& folder : snapshots) {
    if (what_lacks(folder).empty()) return {folder, path_or_id};
  }
  if (!snapshots.empty()) {
    fail(model, ": the download in the hub cache is incomplete: ", shown(snapshots.front()), " has no ",
         what_lacks(snapshots.front()), remedies(path_or_id, true));
  }
  const std::vector<std::string> sizes = {"tiny", "130m", "370m", "790m", "1.4b", "2.8b"};
  if (std::find(sizes.begin(), sizes.end(), path_or_id) != sizes.end()) {
    fail(model, ": no cfg/models/", path_or_id,
         ".yaml below the working folder or the tree of the programs, and no folder ./", path_or_id,
         "; give the path of that file");
  }
  fail(model, ": not found in ./", printable(path_or_id), " nor in the hub cache (", shown(hub_cache_folder()), ")",
       did_you_mean(path_or_id, sizes), ".", remedies(path_or_id, true));
}

}  // namespace mpeft::checkpoint
