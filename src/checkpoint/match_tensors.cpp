#include "mpeft/checkpoint/match_tensors.h"

#include "checkpoint/messages.h"

namespace mpeft::checkpoint {
namespace {

// Edit distances of thousands of names with thousands of others take minutes and tell nothing.
constexpr size_t kMostGuesses = 32;

}  // namespace

MatchReport match_tensors(const TensorShapes& expected, const TensorMap& found) {
  MatchReport report;
  for (const auto& [name, shape] : expected) {
    const auto tensor = found.find(name);
    if (tensor == found.end()) {
      report.missing.push_back(name);
    } else if (tensor->second.sizes() != at::IntArrayRef(shape)) {
      report.mis_shaped.push_back({name, shape, tensor->second.sizes().vec()});
    }
  }
  for (const auto& [name, tensor] : found) {
    if (expected.count(name) == 0) report.unexpected.push_back(name);
  }
  return report;
}

std::string MatchReport::message(const std::string& where) const {
  std::vector<std::string> counts;
  if (!missing.empty()) counts.push_back(str(missing.size(), " missing"));
  if (!unexpected.empty()) counts.push_back(str(unexpected.size(), " unexpected"));
  if (!mis_shaped.empty()) counts.push_back(str(mis_shaped.size(), " of another shape"));
  std::string out = str(where, ": the tensors do not fit: ", join(counts, ", "));
  const bool guesses = missing.size() <= kMostGuesses && unexpected.size() <= kMostGuesses;
  for (const std::string& name : missing) {
    const std::string near = guesses ? nearest(name, unexpected) : "";
    out += str("\n  missing     ", printable(name), near.empty() ? "" : " (the file has " + quote(near) + ")");
  }
  for (const std::string& name : unexpected) out += "\n  unexpected  " + printable(name);
  for (const MisShaped& tensor : mis_shaped) {
    out += str("\n  shape       ", printable(tensor.name), ": expected ", shape_text(tensor.expected), ", found ",
               shape_text(tensor.found));
  }
  return out;
}

void MatchReport::throw_if_any(const std::string& where) const {
  if (!is_ok()) throw CheckpointError(message(where));
}

}  // namespace mpeft::checkpoint
