#pragma once

#include <filesystem>
#include <vector>

namespace mpeft::metrics {

/// Where NLTK looks for its data, in its order: NLTK_DATA (several folders apart by ':'), ~/nltk_data, then
/// {/usr,/usr/local}/{share,lib}/nltk_data. The folders need not exist.
std::vector<std::filesystem::path> nltk_data_folders();

}  // namespace mpeft::metrics
