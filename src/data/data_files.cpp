#include "data/data_files.h"

#include <filesystem>

#include "mpeft/core/error.h"
#include "mpeft/core/fs.h"
#include "mpeft/core/strings.h"

namespace mpeft::data {

std::string find_data_file(const std::string& folder, const std::string& name) {
  std::string obstacle;
  for (const fs::Path& path : {fs::Path(folder) / name, fs::Path(name)}) {
    std::error_code error;
    const auto status = std::filesystem::status(path, error);
    if (std::filesystem::is_regular_file(status)) return path.string();
    if (!obstacle.empty()) continue;
    if (std::filesystem::is_directory(status)) {
      obstacle = path.string() + ": is a folder; expected a file";
    } else if (std::filesystem::exists(status)) {
      obstacle = path.string() + ": is not a regular file";
    } else if (error && status.type() != std::filesystem::file_type::not_found) {
      obstacle = path.string() + ": " + error.message();
    }
  }
  if (!obstacle.empty()) throw DataError(obstacle);
  return "";
}

bool is_one_file(const std::string& a, const std::string& b) {
  if (a.empty() || b.empty()) return false;
  std::error_code ignored;
  return a == b || std::filesystem::equivalent(a, b, ignored);
}

std::string locate_official_file(const OfficialFile& file) {
  std::string path = find_data_file(file.folder, file.name);
  if (!path.empty()) return path;
  const size_t dot = file.name.rfind('.');
  const std::string there = files_in(file.folder, dot == std::string::npos ? "" : file.name.substr(dot));
  const std::string option = file.option.empty() ? "" : " (name one with data_options." + file.option + ")";
  throw DataError(str(file.set, ": no ", file.name, ": looked for ", file.folder, "/", file.name, " and ./", file.name,
                      there.empty() ? "" : "\n  the folder holds " + there + option, "\n  it comes from ", file.origin,
                      "; on a machine with a network:\n  python3 scripts/prepare_data.py ", file.prepare, " --output ",
                      file.data_root));
}

std::string files_in(const std::string& folder, const std::string& extension) {
  constexpr size_t kShown = 6;
  std::vector<std::string> names;
  for (const auto& name : fs::list_folder(folder)) {
    if (name.ends_with(extension)) names.push_back(name);
  }
  if (names.size() > kShown) {
    names.resize(kShown);
    names.push_back("…");
  }
  return join(names, ", ");
}

}  // namespace mpeft::data
