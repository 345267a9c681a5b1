#include "metrics/nltk_data.h"

#include <cstdlib>

#include "mpeft/core/strings.h"

namespace mpeft::metrics {

std::vector<std::filesystem::path> nltk_data_folders() {
  std::vector<std::filesystem::path> folders;
  if (const char* listed = std::getenv("NLTK_DATA")) {
    for (const std::string& folder : split(listed, ':')) {
      if (!folder.empty()) folders.emplace_back(folder);
    }
  }
  if (const char* home = std::getenv("HOME")) folders.push_back(std::filesystem::path(home) / "nltk_data");
  for (const char* folder :
       {"/usr/share/nltk_data", "/usr/local/share/nltk_data", "/usr/lib/nltk_data", "/usr/local/lib/nltk_data"}) {
    folders.emplace_back(folder);
  }
  return folders;
}

}  // namespace mpeft::metrics
