#include "data/dataset_name.h"

#include <algorithm>

#include "mpeft/core/error.h"
#include "mpeft/core/strings.h"

namespace mpeft::data {
namespace {

bool is_number(const std::string& text) {
  return !text.empty() && text.size() <= 9 &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

}  // namespace

DatasetName parse_dataset_name(const std::string& name, const std::vector<std::string>& known) {
  DatasetName parsed;
  std::string head = name;
  if (const size_t colon = name.find(':'); colon != std::string::npos) {
    parsed.path = name.substr(colon + 1);
    head = name.substr(0, colon);
    if (parsed.path.empty()) throw ConfigError("data: " + name + ": expected a path after the colon");
  }
  auto parts = split(head, '_');
  if (parts.size() > 1 && is_number(parts.back())) {
    parsed.subset = std::stoll(parts.back());
    if (parsed.subset < 10)
      throw ConfigError("data: " + name + ": a subset has at least 10 records (a tenth is for validation)");
    parts.pop_back();
  }
  parsed.set = parts.front();
  parts.erase(parts.begin());
  parsed.variant = join(parts, "_");
  constexpr std::string_view kTvt = "-tvt";
  if (parsed.set.size() > kTvt.size() && parsed.set.ends_with(kTvt)) {
    parsed.tvt = true;
    parsed.set.resize(parsed.set.size() - kTvt.size());
  }
  if (std::find(known.begin(), known.end(), parsed.set) == known.end()) {
    throw ConfigError("data: " + name + ": unknown data set" + did_you_mean(parsed.set, known) +
                      "; known: " + join(known, ", ") + " (each also as NAME-tvt and NAME_1000)");
  }
  return parsed;
}

}  // namespace mpeft::data
