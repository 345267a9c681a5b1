#include "peft/suggest.h"

#include <algorithm>

#include "mpeft/core/strings.h"

namespace mpeft::peft {
namespace {

constexpr size_t kMostListed = 16;  // a line that can be read

}  // namespace

std::string suggest(const std::string& name, const std::vector<std::string>& candidates) {
  if (const auto near = did_you_mean(name, candidates); !near.empty()) return near;
  std::vector<std::string> unique;
  for (const auto& candidate : candidates) {
    if (std::find(unique.begin(), unique.end(), candidate) == unique.end()) unique.push_back(candidate);
  }
  if (unique.empty()) return "";
  const bool is_cut = unique.size() > kMostListed;
  if (is_cut) unique.resize(kMostListed);
  return "; here are: " + join(unique, ", ") + (is_cut ? ", …" : "");
}

std::vector<std::string> ends_like(const std::string& name, const std::vector<std::string>& paths) {
  const auto n_dots = std::count(name.begin(), name.end(), '.');
  std::vector<std::string> ends;
  for (const auto& path : paths) {
    size_t begin = path.size();
    for (auto n = n_dots + 1; n > 0 && begin != 0; --n) {
      const auto dot = path.rfind('.', begin - 1);
      begin = dot == std::string::npos ? 0 : dot;
    }
    const std::string end = path.substr(begin == 0 ? 0 : begin + 1);
    if (std::find(ends.begin(), ends.end(), end) == ends.end()) ends.push_back(end);
  }
  return ends;
}

}  // namespace mpeft::peft
