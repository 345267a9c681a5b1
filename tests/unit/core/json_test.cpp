#include "mpeft/core/json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "mpeft/core/error.h"
#include "mpeft/core/strings.h"

namespace mpeft {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

std::string problem_of(std::string_view text, const JsonRules& rules = {}) {
  try {
    parse_json(text, rules);
  } catch (const JsonProblem& problem) {
    return problem.at("a.json");
  }
  return "";
}

TEST(JsonTest, ReadsWhatIsJson) {
  EXPECT_EQ(parse_json(" {\"a\": [1, 2.5, null, \"\\u00e9\"]}\r\n"), nlohmann::json({{"a", {1, 2.5, nullptr, "é"}}}));
  EXPECT_EQ(problem_of("7"), "");
}

TEST(JsonTest, KeepsTheOrderOfKeysWhereAsked) {
  EXPECT_EQ(parse_ordered_json(R"({"b": 1, "a": {"d": 2, "c": 3}})").dump(), R"({"b":1,"a":{"d":2,"c":3}})");
  try {
    parse_ordered_json(std::string(65, '['), 7);
    ADD_FAILURE() << "accepted";
  } catch (const JsonProblem& problem) {
    EXPECT_EQ(problem.at("a.jsonl"), "a.jsonl:7:65: nested deeper than 64 levels");
  }
}

TEST(JsonTest, AForgottenProblemIsReadable) {
  try {
    parse_json("{\"r\": 8,}");
    ADD_FAILURE() << "accepted";
  } catch (const std::exception& e) {
    EXPECT_THAT(e.what(), StartsWith("1:9: not valid JSON: syntax error"));
  }
}

TEST(JsonTest, NamesLineAndColumnOfTheError) {
  EXPECT_EQ(problem_of("{\n  \"r\": 8,\n  \"alpha\" 16\n}\n"),
            "a.json:3:12: not valid JSON: syntax error while parsing object separator - unexpected number literal; "
            "expected ':'");
  EXPECT_THAT(problem_of("{\"r\": 8,}"), StartsWith("a.json:1:9: not valid JSON: syntax error"));
  EXPECT_THAT(problem_of(""), StartsWith("a.json:1:1: not valid JSON: "));
  EXPECT_THAT(problem_of("{\n\"r\": 8\n"), StartsWith("a.json:3:1: not valid JSON: "));  // its end
  EXPECT_THAT(problem_of("{} {}"), StartsWith("a.json:1:4: not valid JSON: "));
  EXPECT_THAT(problem_of("{\"a\": 1e999}"), HasSubstr("a.json: not valid JSON: number overflow"));
}

TEST(JsonTest, CountsCharactersAndTheLinesOfTheFile) {
  EXPECT_THAT(problem_of("{\"é→𝛼\": x}"), StartsWith("a.json:1:9: "));
  EXPECT_THAT(problem_of("{\"a\": x}", {.first_line = 12}), StartsWith("a.json:12:7: "));
  EXPECT_THAT(problem_of("\"\xff\""), StartsWith("a.json:1:2: not valid JSON: "));
}

TEST(JsonTest, SpeaksToPeople) {
  for (const char* text : {"{", "[1,", "nul", "{\"a\"", "\"\xff\"", "1e999", "\x01", "'a'"}) {
    const std::string problem = problem_of(text);
    EXPECT_THAT(problem, HasSubstr("not valid JSON: ")) << text;
    EXPECT_THAT(problem, Not(HasSubstr("json.exception"))) << text;
    EXPECT_THAT(problem, Not(HasSubstr("parse error at"))) << text;
    EXPECT_TRUE(is_valid_utf8(problem)) << text;
  }
  const std::string unended = problem_of("[\"" + std::string(100'000, 'x'));
  EXPECT_LT(unended.size(), 300U);
  EXPECT_THAT(unended, HasSubstr("last read: '…xxx"));
  // the excerpt begins with a whole character, wherever it is cut
  std::string wide;
  for (int i = 0; i < 100; ++i) wide += "€";
  for (const char* end : {"", "x", "xx"})
    EXPECT_THAT(problem_of("[\"" + wide + end), HasSubstr("last read: '…€€")) << end;
}

TEST(JsonTest, LimitsDepthAndKeepsWhatIsAskedFor) {
  const std::string deep = std::string(64, '[') + std::string(64, ']');
  EXPECT_EQ(problem_of(deep), "");
  EXPECT_EQ(problem_of("[" + deep + "]"), "a.json:1:65: nested deeper than 64 levels");
  EXPECT_EQ(problem_of("[[[]]]", {.max_depth = 2}), "a.json:1:3: nested deeper than 2 levels");
  EXPECT_EQ(problem_of("[" + deep + "]", {.max_depth = 0}), "");
  EXPECT_EQ(problem_of("{\"a]\\\"[\": [],\n \"b\": [{}]}", {.first_line = 5, .max_depth = 2}),
            "a.json:6:8: nested deeper than 2 levels");
  const auto without_b = [](int, nlohmann::json::parse_event_t event, nlohmann::json& value) {
    return event != nlohmann::json::parse_event_t::key || value != "b";
  };
  EXPECT_EQ(parse_json("{\"a\": 1, \"b\": [1, 2]}", {.keep = without_b}), nlohmann::json({{"a", 1}}));
}

TEST(JsonTest, NamesAKeyThatIsThereTwiceWhereAsked) {
  const JsonRules unique{.unique_keys = true};
  EXPECT_EQ(parse_json(R"({"r": 8, "r": 4})").at("r"), 4);
  for (const char* right :
       {R"({"r": {"r": 1}, "s": [{"r": 1}, {"r": 2}], "t": {"s": 1}, "u": "r"})", R"([{"a": 1}, 2])"})
    EXPECT_NO_THROW(parse_json(right, unique)) << right;
  for (const char* wrong : {R"({"r": 8, "s": {"t": 1}, "r": 4})", R"([{"a": {"b": {}, "r": 1, "c": [], "r": 2}}])"}) {
    try {
      parse_json(wrong, unique);
      ADD_FAILURE() << wrong;
    } catch (const JsonProblem& problem) {
      EXPECT_EQ(problem.at("x.json"), "x.json: the key 'r' is there twice");
    }
  }
}

TEST(JsonTest, ThrowsWhatTheCallerThrows) {
  EXPECT_THROW(parse_json_or_throw<ConfigError>("{", "a.json"), ConfigError);
  try {
    parse_json_or_throw<DataError>("[1 2]", "a.json");
    FAIL();
  } catch (const DataError& e) {
    EXPECT_THAT(e.what(), StartsWith("a.json:1:4: not valid JSON: "));
    EXPECT_THAT(e.what(), EndsWith("expected ']'"));
  }
}

}  // namespace
}  // namespace mpeft
