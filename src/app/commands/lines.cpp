#include <fstream>
#include <iostream>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "mpeft/core/error.h"
#include "mpeft/core/json.h"
#include "mpeft/core/logging.h"
#include "mpeft/core/strings.h"

#include "app/commands/command.h"

namespace mpeft::app {

void for_each_line(const std::string& path, const std::function<void(int64_t, const std::string&)>& each) {
  std::ifstream file;
  if (path != "-") {
    file.open(path);
    if (!file) throw DataError(path + ": cannot be opened");
  }
  if (path == "-" && ::isatty(STDIN_FILENO) != 0)
    log::info("reading from the terminal, one JSON value a line; Ctrl-D ends");
  std::istream& input = path == "-" ? std::cin : file;
  std::string line;
  for (int64_t number = 1; std::getline(input, line); ++number) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    each(number, line);
  }
}

std::string json_string_of_line(const std::string& line, int64_t number) {
  const std::string expected = mpeft::str("line ", number, ": expected one JSON string, like \"some text\", ");
  nlohmann::json value;
  try {
    value = parse_json(line);
  } catch (const JsonProblem& problem) {
    const std::string place = problem.column > 0 ? mpeft::str(" (column ", problem.column, ")") : "";
    throw DataError(mpeft::str(expected, "and this is not JSON in UTF-8", place, ": ", line.substr(0, 60)));
  }
  if (!value.is_string()) throw DataError(mpeft::str(expected, "got: ", line.substr(0, 60)));
  return value.get<std::string>();
}

std::vector<int32_t> ids_of_line(const std::string& line, int64_t number) {
  const auto fail = [&](const std::string& place = "") -> DataError {
    return DataError(mpeft::str("line ", number, ": expected a JSON list of token ids, like [510, 2], got", place, ": ",
                                line.substr(0, 60)));
  };
  nlohmann::json value;
  try {
    value = parse_json(line);
  } catch (const JsonProblem& problem) {
    throw fail(problem.column > 0 ? mpeft::str(" (no JSON from column ", problem.column, " on)") : "");
  }
  if (!value.is_array()) throw fail();
  std::vector<int32_t> ids;
  for (const auto& id : value) {
    if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() > INT32_MAX) throw fail();
    ids.push_back(id.get<int32_t>());
  }
  return ids;
}

}  // namespace mpeft::app
