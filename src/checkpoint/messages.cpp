#include "checkpoint/messages.h"

namespace mpeft::checkpoint {
namespace {

constexpr size_t kLongestName = 160;

}  // namespace

std::string printable(std::string_view text) {
  const bool cut = text.size() > kLongestName;
  std::string out;
  for (const char c : to_valid_utf8(text.substr(0, kLongestName))) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) {
      constexpr char kDigits[] = "0123456789abcdef";
      out += {'\\', 'x', kDigits[byte >> 4], kDigits[byte & 15]};
    } else {
      out += c;
    }
  }
  return cut ? out + "…" : out;
}

std::string quote(std::string_view text) { return "'" + printable(text) + "'"; }

std::string guess_what_it_is(std::string_view file) {
  const auto starts = [&](std::string_view prefix) { return file.substr(0, prefix.size()) == prefix; };
  if (starts("version https://git-lfs")) {
    return " It is a Git LFS pointer, not the weights: `git lfs pull` in its repository, or `hf download`, fetches "
           "them.";
  }
  if (starts("<!DOCTYPE") || starts("<html") || starts("<!doctype")) {
    return " It is an HTML page, probably of a failed download: fetch it again.";
  }
  if (starts("PK\x03\x04")) return " It is a zip archive, as torch.save writes them: name it pytorch_model.bin.";
  if (file.empty()) return " It is empty: fetch it again.";
  return "";
}

}  // namespace mpeft::checkpoint
