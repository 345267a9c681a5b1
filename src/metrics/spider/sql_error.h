#pragma once

#include <stdexcept>
#include <string>

namespace mpeft::metrics::spider {

/// A query that does not follow the official script's grammar or names what its schema lacks. For our own use: what a
/// user sees is a score of 0, and a note when the gold query is the one at fault.
class SqlError : public std::runtime_error {
 public:
  explicit SqlError(const std::string& reason) : std::runtime_error(reason) {}
};

}  // namespace mpeft::metrics::spider
