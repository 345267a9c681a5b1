#pragma once

#include <string>
#include <string_view>

namespace mpeft::text {

/// True when NFC leaves the well-formed `text` as it is; false when it may change it (a quick check: no false
/// positives).
bool is_surely_nfc(std::string_view text);

/// Normalization form C of well-formed UTF-8, as the `tokenizers` package computes it: with the tables of Unicode 9.
/// Marks and composites that Unicode added later stay where they are.
std::string to_nfc(std::string_view text);

}  // namespace mpeft::text
