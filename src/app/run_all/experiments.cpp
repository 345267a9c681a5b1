#include "app/run_all/experiments.h"

#include <algorithm>
#include <glob.h>
#include <map>
#include <set>

#include "mpeft/core/error.h"
#include "mpeft/core/fs.h"
#include "mpeft/core/strings.h"

namespace mpeft::app {
namespace {

namespace sfs = std::filesystem;

bool is_pattern(const std::string& text) { return text.find_first_of("*?[{") != std::string::npos; }

std::vector<std::string> expand(const std::string& pattern) {
  glob_t found{};
  std::vector<std::string> paths;
  if (::glob(pattern.c_str(), GLOB_BRACE, nullptr, &found) == 0)
    paths.assign(found.gl_pathv, found.gl_pathv + found.gl_pathc);
  ::globfree(&found);
  return paths;
}

// What is wrong with a path or pattern that names nothing: the first part that is not there, and what is near it.
std::string why_nothing(const std::string& argument) {
  sfs::path there;
  for (const auto& part : sfs::path(argument)) {
    const sfs::path next = there / part;
    if (!expand(next.string()).empty()) {
      there = next;
      continue;
    }
    const auto folders = there.empty() ? std::vector<std::string>{"."} : expand(there.string());
    std::vector<std::string> names;
    for (const auto& folder : folders) {
      std::error_code error;
      sfs::directory_iterator(folder, error);
      if (error) return mpeft::str(folder, ": ", error.message());
      for (const auto& name : fs::list_folder(folder)) names.push_back(name);
    }
    const std::string near = nearest(part.string(), names);
    const std::string place = there.empty() ? "the working folder" : there.string();
    if (!near.empty()) return mpeft::str("nothing in ", place, " matches '", part.string(), "' (nearest: ", near, ")");
    if (names.empty()) return mpeft::str(place, " is empty");
    names.resize(std::min<size_t>(names.size(), 3));
    return mpeft::str("nothing in ", place, " matches '", part.string(), "' (it holds ", join(names, ", "), ", …)");
  }
  return "no such file";
}

std::vector<std::string> files_below(const std::string& folder) {
  std::vector<std::string> files;
  std::error_code error;
  for (sfs::recursive_directory_iterator it(folder, error), end; it != end; it.increment(error)) {
    const auto extension = it->path().extension();
    std::error_code ignored;
    if ((extension == ".yaml" || extension == ".yml") && it->is_regular_file(ignored))
      files.push_back(it->path().string());
  }
  if (error) throw ConfigError(mpeft::str("--cfg ", folder, ": a folder cannot be read: ", error.message()));
  std::sort(files.begin(), files.end());
  return files;
}

// "cfg/exps/a/b.yaml" -> "a/b"; other paths without their extension.
std::string short_name(const std::string& cfg) {
  std::string name = sfs::path(cfg).lexically_normal().replace_extension().string();
  for (const std::string_view prefix : {"cfg/exps/", "cfg/"}) {
    const size_t at = name.rfind(prefix);
    if (at != std::string::npos && (at == 0 || name[at - 1] == '/')) return name.substr(at + prefix.size());
  }
  return name;
}

}  // namespace

std::vector<std::string> find_experiments(const std::vector<std::string>& arguments) {
  std::vector<std::string> files;
  std::set<std::string> seen;
  std::vector<std::string> problems;
  for (const std::string& argument : arguments) {
    std::vector<std::string> found;
    std::error_code hidden;  // what cannot be looked at is not there; why_nothing says more
    const bool exists = sfs::exists(argument, hidden);
    for (const auto& path : exists || !is_pattern(argument) ? std::vector{argument} : expand(argument)) {
      if (sfs::is_directory(path, hidden)) {
        for (auto& file : files_below(path)) found.push_back(std::move(file));
      } else if (sfs::exists(path, hidden)) {
        found.push_back(path);
      }
    }
    if (found.empty()) {
      problems.push_back(mpeft::str("--cfg ", argument, ": ", exists ? "holds no .yaml file" : why_nothing(argument)));
    }
    for (auto& file : found) {
      if (seen.insert(sfs::weakly_canonical(file).string()).second) files.push_back(std::move(file));
    }
  }
  if (!problems.empty()) throw ConfigError(join(problems, "\n"));
  return files;
}

std::vector<Experiment> load_experiments(const std::vector<std::string>& files,
                                         const config::ExperimentOverrides& overrides) {
  std::vector<Experiment> experiments;
  std::vector<std::string> problems;
  std::map<std::string, std::string> owner;  // output folder -> experiment
  for (const std::string& file : files) {
    try {
      const auto config = config::load_experiment(file, overrides);
      const auto [it, is_new] = owner.emplace(sfs::weakly_canonical(config.output_dir).string(), file);
      if (!is_new) {
        problems.push_back(mpeft::str(file, ": writes to ", config.output_dir, ", as ", it->second,
                                      " does: give each its own output_dir"));
      }
      experiments.push_back(
          {file, short_name(file), config.output_dir, config.num_epochs, config.no_save, config.debug, config});
    } catch (const ConfigError& e) {
      problems.emplace_back(e.what());
    }
  }
  if (!problems.empty()) {
    throw ConfigError(mpeft::str(join(problems, "\n"), "\n", problems.size(), " of ", files.size(),
                                 " experiments have problems; nothing was started"));
  }
  return experiments;
}

}  // namespace mpeft::app
