#include "config/experiment_files.h"

#include <algorithm>
#include <filesystem>

#include "mpeft/config/experiment.h"
#include "mpeft/core/error.h"
#include "mpeft/core/fs.h"
#include "mpeft/core/strings.h"

namespace mpeft::config {
namespace {

using fs::Path;

bool is_file(const Path& path) {
  std::error_code ignored;
  return std::filesystem::is_regular_file(path, ignored);
}

bool is_there(const Path& path) {
  std::error_code ignored;
  return std::filesystem::exists(path, ignored);
}

// Configurations name adapters from the root of the tree (`cfg/peft/…`), wherever the command was started.
Path find_upwards(const std::string& path, const std::string& experiment) {
  if (is_file(path) || Path(path).is_absolute()) return path;
  std::error_code ignored;
  Path folder = std::filesystem::absolute(experiment, ignored).parent_path();
  for (; folder.has_relative_path(); folder = folder.parent_path()) {
    if (is_file(folder / path)) return folder / path;
  }
  return path;
}

std::string read_peft_file(const Node& node, const std::string& experiment, bool must_exist) {
  const std::string path = node.as_string();
  if (path.empty()) {
    node.problem("expected the path of an adapter configuration (JSON), null, or a list of paths");
    return path;
  }
  if (!must_exist) return path;
  const Path found = find_upwards(path, experiment);
  if (!is_file(found)) node.problem(path + ": no such file" + nearest_file(path));
  return found.string();
}

}  // namespace

std::string nearest_file(const std::string& path) {
  Path folder = Path(path).parent_path(), name = Path(path).filename();
  // Where the folder is misspelt, the nearest name is that of the folder.
  while (!folder.empty() && !is_there(folder) && folder.has_parent_path() && folder != folder.parent_path()) {
    name = folder.filename();
    folder = folder.parent_path();
  }
  if (!folder.empty() && !is_there(folder)) {
    name = folder;
    folder.clear();
  }
  const std::string best = nearest(name.string(), fs::list_folder(folder.empty() ? Path(".") : folder));
  if (best.empty() || best == name) return "";
  return " (nearest: " + (name == Path(path).filename() ? best : (folder / best).string()) + ")";
}

std::vector<std::string> read_peft_files(const Node& node, const std::string& experiment, bool must_exist) {
  if (!node.is_present() || node.is_null()) return {};
  if (!node.is_list()) return {read_peft_file(node, experiment, must_exist)};
  std::vector<std::string> paths;
  for (const Node& item : node.items()) {
    paths.push_back(read_peft_file(item, experiment, must_exist));
    if (std::count(paths.begin(), paths.end(), paths.back()) > 1) item.problem("the same adapter twice");
  }
  return paths;
}

void check_named_file(const Node& node) {
  if (!node.is_scalar()) return;
  const std::string path = node.as_string();
  const std::string extension = Path(path).extension().string();
  const bool named_as_file =
      extension == ".yaml" || extension == ".yml" || extension == ".json" || extension == ".model";
  if (named_as_file && !is_file(path)) node.problem(path + ": no such file" + nearest_file(path));
}

void check_experiment_path(const std::string& path) {
  if (is_file(path)) return;
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored))
    throw ConfigError(path + ": a folder, not a file; `run_all train --cfg " + path + "` runs every experiment in it");
  throw ConfigError(path + ": no such file" + nearest_file(path));
}

std::string flag_of_key(const std::string& key) {
  if (key == "output_dir") return "output";
  std::string flag = key;
  std::replace(flag.begin(), flag.end(), '_', '-');
  return flag;
}

std::string experiment_output_dir(const std::string& config_path) {
  const Path path = Path(config_path).lexically_normal();
  std::vector<std::string> parts;
  for (const auto& part : path.parent_path()) parts.push_back(part.string());
  Path below;  // the folders that name the experiment
  const auto cfg = std::find(parts.rbegin(), parts.rend(), "cfg");
  if (cfg != parts.rend()) {
    auto part = cfg.base();
    if (part != parts.end() && *part == "exps") ++part;
    for (; part != parts.end(); ++part) below /= *part;
  } else if (path.is_relative() && (parts.empty() || parts.front() != "..")) {
    below = path.parent_path();
  }
  const std::string stem = path.stem().string();
  return (Path("weights") / below / (stem.empty() ? "experiment" : stem)).string();
}

}  // namespace mpeft::config
