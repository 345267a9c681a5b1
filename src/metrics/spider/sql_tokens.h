#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace mpeft::metrics::spider {

/// Longer queries count as not parsable: the longest of Spider has some 600 bytes.
inline constexpr size_t kMaxQueryBytes = size_t{64} << 10;

/// The official script's tokens: quoted texts (either quote) in double quotes with their case kept, the rest cut by
/// NLTK's Treebank words without sentences and lower-cased, `! =`, `> =`, `< =` joined. Throws SqlError for an odd
/// number of quotes or a query longer than kMaxQueryBytes.
std::vector<std::string> tokenize_sql(std::string_view query);

/// Python's float(word): decimal digits of any script, "1_000", "1e400" (infinite), "nan", "-inf"; nullopt for others.
std::optional<double> python_float(std::string_view word);

}  // namespace mpeft::metrics::spider
