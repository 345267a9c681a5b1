#pragma once

#include <string>
#include <vector>

namespace mpeft::data {

/// The path of a file that the user or the layout named: below `folder` if it is there, else as given (from the working
/// folder), else "". Throws DataError when what is there is no file (a folder, a pipe) or cannot be looked at.
std::string find_data_file(const std::string& folder, const std::string& name);

/// True when both paths, neither of them "", lead to one file: by another spelling, a link.
bool is_one_file(const std::string& a, const std::string& b);

/// A file of a published data set.
struct OfficialFile {
  std::string set;        ///< "dart": begins the message
  std::string folder;     ///< where it belongs, the data root included
  std::string name;       ///< "train.tsv"
  std::string option;     ///< the key of data_options that names another file; "" for none
  std::string origin;     ///< where the set comes from
  std::string prepare;    ///< what scripts/prepare_data.py calls it
  std::string data_root;  ///< where prepare_data.py is to write
};

/// The path of the file below its folder, or of `name` from the working folder. Throws DataError: where it was looked
/// for, what the folder holds instead, where it comes from and the command that fetches it.
std::string locate_official_file(const OfficialFile& file);

/// "a.json, b.json" of the files in `folder` that end in `extension` (at most six), or "" when there are none.
std::string files_in(const std::string& folder, const std::string& extension);

}  // namespace mpeft::data
