#pragma once

#include <cstdint>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace mpeft {

/// The parts, streamed one after the other: str("rank ", 8) == "rank 8". Write mpeft::str beside tensors, whose types
/// bring c10::str along. (g++ 12 has no std::format, and fmt's headers clash with the copy that LibTorch carries.)
template <typename... Parts>
std::string str(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return out.str();
}

/// Splits at every occurrence of `separator`; "" gives one empty piece.
std::vector<std::string> split(std::string_view text, char separator);

/// The pieces with `separator` between them.
std::string join(const std::vector<std::string>& pieces, std::string_view separator);

/// Without ASCII white space at either end.
std::string_view trim(std::string_view text);

/// ASCII letters in lower case; other bytes unchanged.
std::string to_lower(std::string_view text);

/// Levenshtein distance in bytes, a swap of neighbours counting one.
int edit_distance(std::string_view a, std::string_view b);

/// The candidate nearest to `name`, or "" when none is near enough to be what was meant.
std::string nearest(std::string_view name, const std::vector<std::string>& candidates);

/// " (did you mean 'x'?)" or "" when no candidate is near.
std::string did_you_mean(std::string_view name, const std::vector<std::string>& candidates);

/// 1234567 -> "1,234,567".
std::string with_thousands(int64_t n);

/// Bytes for people: "3.1 GiB", "512 B".
std::string human_bytes(uint64_t bytes);

/// Seconds for people: "820 ms", "12 s", "1 min 25 s", "2 h 10 min".
std::string human_duration(double seconds);

/// `value` with `digits` digits after the point.
std::string fixed(double value, int digits);

/// Valid UTF-8 of the same text: each maximal ill-formed part (Unicode 15, 3.9, U+FFFD substitution) becomes U+FFFD.
std::string to_valid_utf8(std::string_view bytes);

/// True when `bytes` is well-formed UTF-8.
bool is_valid_utf8(std::string_view bytes);

}  // namespace mpeft
