#pragma once

#include <string>
#include <vector>

#include "mpeft/config/node.h"

namespace mpeft::config {

/// The `peft:` key: null, one path or a list of them. With `must_exist`, a path that is not there is a problem that
/// names the nearest file; one that is found beside the experiment is returned as found.
std::vector<std::string> read_peft_files(const Node& node, const std::string& experiment, bool must_exist);

/// A value that ends like a file (.yaml, .json, .model) has to be one; others are ids or folders and looked up later.
void check_named_file(const Node& node);

/// Throws ConfigError naming the nearest file when `path` is not a file.
void check_experiment_path(const std::string& path);

/// " (nearest: name)" for a path that does not exist, or "".
std::string nearest_file(const std::string& path);

/// The flag that sets a key: "data_root" -> "data-root", "output_dir" -> "output".
std::string flag_of_key(const std::string& key);

}  // namespace mpeft::config
