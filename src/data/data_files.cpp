#include "data/data_files.h"

#include <filesystem>

#include "mpeft/core/fs.h"
#include "mpeft/core/strings.h"

namespace mpeft::data {

std::string find_data_file(const std::string& folder, const std::string& name) {
  std::error_code ignored;
  for (const fs::Path& path : {fs::Path(folder) / name, fs::Path(name)}) {
    if (std::filesystem::is_regular_file(path, ignored)) return path.string();
  }
  return "";
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
