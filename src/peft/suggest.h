#pragma once

#include <string>
#include <vector>

namespace mpeft::peft {

/// How a message about a name that matches nothing ends: " (did you mean 'x'?)", or "; here are: a, b, c" when nothing
/// is near. Candidates may repeat; their order stays.
std::string suggest(const std::string& name, const std::vector<std::string>& candidates);

/// What `name` could be a suffix of among dotted `paths`: their ends of as many components as it has, each once.
std::vector<std::string> ends_like(const std::string& name, const std::vector<std::string>& paths);

}  // namespace mpeft::peft
