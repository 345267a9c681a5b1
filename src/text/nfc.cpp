#include "text/nfc.h"

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <new>
#include <vector>

#include <utf8proc.h>

#include "mpeft/core/check.h"

#include "text/code_points.h"

namespace mpeft::text {
namespace {

int combining_class(uint32_t code_point) {
  return utf8proc_get_property(static_cast<utf8proc_int32_t>(code_point))->combining_class;
}

// utf8proc orders marks by swapping neighbours, which is quadratic in the length of a run of marks. Runs of this length
// do not occur in any language; in a hostile text of a million marks they would take minutes. Sorting them here first
// (stable, by combining class: the same canonical order) leaves utf8proc nothing to swap.
constexpr size_t kLongRun = 64;

std::string order_long_mark_runs(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  std::vector<std::pair<int, uint32_t>> run;
  const auto flush = [&] {
    if (run.size() > kLongRun) {
      std::stable_sort(run.begin(), run.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    }
    for (const auto& mark : run) append_code_point(out, mark.second);
    run.clear();
  };
  for (size_t i = 0; i < text.size();) {
    const CodePoint c = code_point_at(text, i);
    if (const int ccc = combining_class(c.value); ccc != 0) {
      run.emplace_back(ccc, c.value);
    } else {
      flush();
      out.append(text.substr(i, c.length));
    }
    i += c.length;
  }
  flush();
  return out;
}

void append_nfc(std::string& out, std::string_view text) {
  if (text.empty()) return;
  if (is_surely_nfc(text)) {
    out.append(text);
    return;
  }
  const std::string ordered = order_long_mark_runs(text);
  utf8proc_uint8_t* composed = nullptr;
  const utf8proc_ssize_t size = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(ordered.data()),
                                             static_cast<utf8proc_ssize_t>(ordered.size()), &composed,
                                             static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owner(composed, &std::free);
  if (size == UTF8PROC_ERROR_NOMEM) throw std::bad_alloc();
  MPEFT_ASSERT(size >= 0, "utf8proc: ", utf8proc_errmsg(size));
  out.append(reinterpret_cast<const char*>(composed), static_cast<size_t>(size));
}

}  // namespace

bool is_surely_nfc(std::string_view text) {
  const uint8_t* classes = code_point_classes();
  for (size_t i = 0; i < text.size();) {
    const CodePoint c = code_point_at(text, i);
    if ((classes[c.value] & kNormalize) != 0) return false;
    i += c.length;
  }
  return true;
}

std::string to_nfc(std::string_view text) {
  if (is_surely_nfc(text)) return std::string(text);
  // What the older tables do not know is a starter that composes with nothing, so the text falls apart there and
  // utf8proc, whose tables are newer, never sees it.
  const uint8_t* classes = code_point_classes();
  std::string out;
  out.reserve(text.size());
  size_t begin = 0;
  for (size_t i = 0; i < text.size();) {
    const CodePoint c = code_point_at(text, i);
    if ((classes[c.value] & kOpaque) != 0) {
      append_nfc(out, text.substr(begin, i - begin));
      out.append(text.substr(i, c.length));
      begin = i + c.length;
    }
    i += c.length;
  }
  append_nfc(out, text.substr(begin));
  return out;
}

}  // namespace mpeft::text
