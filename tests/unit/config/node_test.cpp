#include "mpeft/config/node.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "mpeft/core/error.h"

namespace mpeft::config {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::string error_of(const std::string& yaml) {
  Problems problems;
  try {
    Node::from_string(yaml, "x.yaml", problems);
    problems.throw_if_any();
  } catch (const ConfigError& e) {
    return e.what();
  }
  return "";
}

TEST(NodeTest, ScalarsAreReadByTypeAndAbsentOnesGiveTheFallback) {
  Problems problems;
  const Node root = Node::from_string("a: 4\nb: 5e-4\nc: yes\nd: [x, 'y z']\ne: +7\nf: text\n", "x.yaml", problems);
  EXPECT_EQ(root["a"].as_int(0), 4);
  EXPECT_EQ(root["e"].as_int(0), 7);
  EXPECT_DOUBLE_EQ(root["b"].as_double(0), 5e-4);
  EXPECT_TRUE(root["c"].as_bool(false));
  EXPECT_THAT(root["d"].as_strings(), ElementsAre("x", "y z"));
  EXPECT_THAT(root["f"].as_strings(), ElementsAre("text"));
  EXPECT_EQ(root["absent"]["below"].as_int(9), 9);
  EXPECT_TRUE(problems.empty());
}

TEST(NodeTest, ProblemsCarryPlaceKeyAndValueAndAreThrownTogether) {
  Problems problems;
  const Node root = Node::from_string("batch_size: 4x\nnested:\n  rate: eight\n  n: 0\n", "cfg/my.yaml", problems);
  EXPECT_EQ(root["batch_size"].as_int_in(4, 1, INT64_MAX), 4);
  EXPECT_EQ(root["nested"]["rate"].as_double(1.5), 1.5);
  root["nested"]["n"].as_int_in(3, 1, 10);
  EXPECT_THAT(problems.messages(), ElementsAre("cfg/my.yaml:1:13: batch_size: expected a positive integer, got '4x'",
                                               "cfg/my.yaml:3:9: nested.rate: expected a number, got 'eight'",
                                               "cfg/my.yaml:4:6: nested.n: must be between 1 and 10, got 0"));
  EXPECT_THROW(problems.throw_if_any(), ConfigError);
}

TEST(NodeTest, UnknownKeysAreReportedWithTheNearestKeyThatWasAskedFor) {
  Problems problems;
  const Node root = Node::from_string("lerning_rate: 1\nread: {n_beams: 2}\nunread: {x: 1}\n", "x.yaml", problems);
  root["learning_rate"].as_double(0);
  root["read"]["num_beams"].as_int(0);
  root["unread"];
  root.report_unknown_keys();
  EXPECT_THAT(problems.messages(), ElementsAre("x.yaml:1:15: lerning_rate: unknown key (did you mean 'learning_rate'?)",
                                               "x.yaml:2:17: read.n_beams: unknown key (did you mean 'num_beams'?)"));
}

TEST(NodeTest, NotFiniteAndOutOfRangeNumbersAreProblems) {
  Problems problems;
  const Node root = Node::from_string("a: .nan\nb: 1e999\nc: 99999999999999999999\nd: 1.5\n", "x.yaml", problems);
  root["a"].as_double(0);
  root["b"].as_double(0);
  root["c"].as_int(0);
  root["d"].as_int(0);
  EXPECT_EQ(problems.messages().size(), 4U);
}

TEST(NodeTest, DuplicateKeysAreProblems) {
  EXPECT_EQ(error_of("a: 1\nb: 2\na: 3\n"), "x.yaml:3:1: a: duplicate key (its first value is at x.yaml:1:4)");
}

TEST(NodeTest, SyntaxErrorsNameTheirPlace) { EXPECT_THAT(error_of("a: [1, 2\nb: 3\n"), HasSubstr("x.yaml:2:")); }

TEST(NodeTest, HostileDocumentsAreRefused) {
  EXPECT_THAT(error_of("a: " + std::string(5000, '[')), HasSubstr("nested deeper than 64"));
  std::string block;
  for (int i = 0; i < 3000; ++i) block += "- ";
  EXPECT_THAT(error_of(block + "x"), HasSubstr("nested deeper than 64"));
  std::string bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 9; ++i) {
    const std::string before = "*a" + std::to_string(i - 1);
    bomb += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [" + before;
    for (int k = 0; k < 9; ++k) bomb += ", " + before;
    bomb += "]\n";
  }
  EXPECT_THAT(error_of(bomb), HasSubstr("more than 100,000 values"));
  EXPECT_THAT(error_of("a: &a [*a]\n"), HasSubstr("an alias of a value that contains it"));
  EXPECT_THAT(error_of(std::string("a: \xff\xfe")), HasSubstr("not UTF-8"));
  EXPECT_THAT(error_of(std::string("a: x\0y", 6)), HasSubstr("NUL"));
  EXPECT_THAT(error_of("a: 1\n---\nb: 2\n"), HasSubstr("more than one YAML document"));
  EXPECT_THAT(error_of(std::string((1U << 20) + 1, ' ')), HasSubstr("1 MiB"));
  EXPECT_THAT(error_of("? [a, b]\n: 1\n"), HasSubstr("a key must be"));
  EXPECT_THROW(
      {
        Problems problems;
        Node::from_file("/nonexistent/file.yaml", problems);
      },
      ConfigError);
}

TEST(NodeTest, AliasesAreCopiesOfTheirOwn) {
  Problems problems;
  Node root = Node::from_string("a: &x {n: 1}\nb: *x\n", "x.yaml", problems);
  root.set("b.n", "2");
  EXPECT_EQ(root["a"]["n"].as_int(0), 1);
  EXPECT_EQ(root["b"]["n"].as_int(0), 2);
}

TEST(NodeTest, SetCreatesMapsReplacesValuesAndNamesTheFlagInMessages) {
  Problems problems;
  Node root = Node::from_string("a: 1\nlist: [1]\n", "x.yaml", problems);
  root.set("a", "[2, 3]");
  root.set("b.c.d", "0.5");
  root.set_text("e", "a: b", "--model");
  EXPECT_EQ(root["a"].items().size(), 2U);
  EXPECT_DOUBLE_EQ(root["b"]["c"]["d"].as_double(0), 0.5);
  EXPECT_EQ(root["e"].as_string(), "a: b");
  root.set("a", "many");
  root["a"].as_int(1);
  EXPECT_THAT(problems.messages(), ElementsAre("--set: a: expected an integer, got 'many'"));
  EXPECT_THROW(root.set("a.b", "1"), ConfigError);
  EXPECT_THROW(root.set("list.x", "1"), ConfigError);
  EXPECT_THROW(root.set("x", "[1"), ConfigError);
  EXPECT_THROW(root.set("x..y", "1"), ConfigError);
}

TEST(NodeTest, DumpKeepsValuesAndTheDifferenceBetweenTextAndNumber) {
  const std::string yaml = "a: '4'\nb: 4\nc: null\nd: {e: [1, \"null\", \"\", 'a\\nb']}\nf: {}\ng: \"x\\ty\"\n";
  Problems problems;
  const Node once = Node::from_string(yaml, "x.yaml", problems);
  const Node twice = Node::from_string(once.dump(), "y.yaml", problems);
  EXPECT_EQ(once.dump(), twice.dump());
  EXPECT_TRUE(twice["c"].is_null());
  EXPECT_EQ(twice["d"]["e"].items()[1].as_string(), "null");
  EXPECT_EQ(twice["d"]["e"].items()[2].as_string("x"), "");
  EXPECT_EQ(twice["g"].as_string(), "x\ty");
}

TEST(NodeTest, ADetachedNodeReportsToItsOwnListAndOneWithProblemsToTheGivenOne) {
  Node kept;
  {
    Problems problems;
    kept = Node::from_string("o: {n: x}\n", "x.yaml", problems)["o"].detached();
  }
  kept["n"].as_int(0);  // must not touch the list that is gone
  Problems later;
  kept.with_problems(later)["n"].as_int(0);
  EXPECT_THAT(later.messages(), ElementsAre("x.yaml:1:8: o.n: expected an integer, got 'x'"));
}

TEST(NodeTest, AMapThatIsNotOneIsOneProblem) {
  Problems problems;
  const Node root = Node::from_string("eval_gen: 5\n", "x.yaml", problems);
  root["eval_gen"]["num_beams"].as_int(1);
  root["eval_gen"]["top_k"].as_int(1);
  EXPECT_THAT(problems.messages(), ElementsAre("x.yaml:1:11: eval_gen: expected a map of keys, got '5'"));
}

}  // namespace
}  // namespace mpeft::config
