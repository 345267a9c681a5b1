#pragma once

#include <string>
#include <vector>

namespace mpeft::data {

/// The path of a file that the user or the layout named: below `folder` if it is there, else as given (from the working
/// folder), else "".
std::string find_data_file(const std::string& folder, const std::string& name);

/// "a.json, b.json" of the files in `folder` that end in `extension` (at most six), or "" when there are none.
std::string files_in(const std::string& folder, const std::string& extension);

}  // namespace mpeft::data
