#include "mpeft/data/token_cache.h"

#include <atomic>
#include <cstdlib>
#include <fstream>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "mpeft/core/fs.h"
#include "mpeft/core/random.h"
#include "mpeft/core/strings.h"

#include "unit/data/fake_tokenizer.h"
#include "unit/data/temporary_folder.h"

namespace mpeft::data {
namespace {

/// Counts what it is asked to encode; `name` stands for the file that it came from.
class CountingTokenizer : public FakeTokenizer {
 public:
  explicit CountingTokenizer(std::string name = "one") : name_(std::move(name)) {}
  std::vector<text::TokenId> encode(std::string_view text) const override {
    ++n_encoded;
    return FakeTokenizer::encode(text);
  }
  const std::string& fingerprint() const override { return name_; }
  mutable std::atomic<int> n_encoded{0};

 private:
  std::string name_;
};

TextDataset dataset(int n = 30) {
  TextDataset text;
  for (int i = 0; i < n; ++i)
    text.examples.push_back({{"do###", str("input ", i, "###")}, str("t", i), {str("t", i), "other"}, i, "part"});
  text.metrics = {"accuracy"};
  text.classes = {"0", "1"};
  return text;
}

void expect_equal(const TokenizedDataset& a, const TokenizedDataset& b) {
  ASSERT_EQ(a.examples.size(), b.examples.size());
  EXPECT_EQ(a.n_dropped, b.n_dropped);
  EXPECT_EQ(a.metrics, b.metrics);
  EXPECT_EQ(a.classes, b.classes);
  for (size_t i = 0; i < a.examples.size(); ++i) {
    ASSERT_EQ(a.examples[i].ids, b.examples[i].ids);
    EXPECT_EQ(a.examples[i].prompt_length, b.examples[i].prompt_length);
    EXPECT_EQ(a.examples[i].references, b.examples[i].references);
    EXPECT_EQ(a.examples[i].record, b.examples[i].record);
    EXPECT_EQ(a.examples[i].group, b.examples[i].group);
  }
}

class TokenCacheTest : public TemporaryFolderTest {
 protected:
  TokenCacheOptions cache() const {
    TokenCacheOptions options;
    options.folder = (root_ / "tokens").string();
    options.program = "1.0";
    options.min_text_bytes = 0;
    return options;
  }
  std::vector<std::string> entries() const { return fs::list_folder(root_ / "tokens"); }
  // How many texts had to be encoded.
  int encoded(const TextDataset& text, const TokenizeOptions& options = {}, const std::string& tokenizer_name = "one",
              const std::string& program = "1.0") const {
    const CountingTokenizer tokenizer(tokenizer_name);
    auto with = cache();
    with.program = program;
    tokenize_cached(text, tokenizer, options, with);
    return tokenizer.n_encoded;
  }
};

TEST_F(TokenCacheTest, TheSecondTimeNothingIsEncodedAndTheResultIsTheSame) {
  for (const bool for_training : {true, false}) {
    const CountingTokenizer first, second;
    const TokenizeOptions options{.for_training = for_training};
    const auto expected = tokenize(dataset(), FakeTokenizer(), options);
    expect_equal(tokenize_cached(dataset(), first, options, cache()), expected);
    expect_equal(tokenize_cached(dataset(), second, options, cache()), expected);
    EXPECT_GT(first.n_encoded, 0);
    EXPECT_EQ(second.n_encoded, 0);
  }
  EXPECT_EQ(entries().size(), 2U);
}

TEST_F(TokenCacheTest, LimitsAreAppliedToWhatWasRead) {
  encoded(dataset());
  const CountingTokenizer tokenizer;
  const TokenizeOptions limited{.max_length = 17};
  expect_equal(tokenize_cached(dataset(), tokenizer, limited, cache()), tokenize(dataset(), FakeTokenizer(), limited));
  EXPECT_EQ(tokenizer.n_encoded, 0);
}

TEST_F(TokenCacheTest, WhateverTheIdsDependOnMakesAnotherEntry) {
  ASSERT_GT(encoded(dataset()), 0);
  ASSERT_EQ(encoded(dataset()), 0);
  auto changed = dataset();
  changed.examples[7].input_parts[1] += " ";
  EXPECT_GT(encoded(changed), 0) << "a text of a file";
  changed = dataset();
  for (auto& example : changed.examples) example.input_parts[0] = "Do###";
  EXPECT_GT(encoded(changed), 0) << "the instruction";
  changed = dataset();
  changed.examples[0].references[1] = "another";
  EXPECT_GT(encoded(changed), 0) << "a target";
  changed = dataset();
  changed.examples[0].input_parts = {"do##", "#input 0###"};
  EXPECT_GT(encoded(changed), 0) << "where a part ends";
  changed = dataset();
  changed.end_token_after_target = false;
  EXPECT_GT(encoded(changed), 0) << "the end token";
  EXPECT_GT(encoded(dataset(29)), 0) << "the number of records";
  EXPECT_GT(encoded(dataset(), {}, "two"), 0) << "the tokenizer";
  EXPECT_GT(encoded(dataset(), {}, "one", "1.1"), 0) << "the program";
  EXPECT_GT(encoded(dataset(), {.for_training = false}), 0) << "evaluation has other rows";
  EXPECT_EQ(encoded(dataset()), 0) << "and the first one is still there";
}

TEST_F(TokenCacheTest, DamagedEntriesAreMadeAgain) {
  const auto expected = tokenize(dataset(), FakeTokenizer(), {});
  encoded(dataset());
  ASSERT_EQ(entries().size(), 1U);
  const auto path = root_ / "tokens" / entries()[0];
  const std::string good = fs::read_file(path);
  std::vector<std::string> bad = {"",
                                  "x",
                                  good.substr(0, 40),
                                  good.substr(0, 88),
                                  good.substr(0, good.size() - 1),
                                  good + "x",
                                  std::string(good.size(), '\0'),
                                  good.substr(0, good.size() / 2)};
  // A header that promises more than there is: 2^60 rows, 2^60 ids.
  for (const size_t at : {8, 16}) {
    bad.push_back(good);
    bad.back()[at + 7] = '\x10';
  }
  Random random(5);
  for (int i = 0; i < 24; ++i) {
    bad.push_back(good);
    bad.back()[random.below(good.size())] ^= static_cast<char>(1 + random.below(255));
  }
  for (size_t i = 0; i < bad.size(); ++i) {
    SCOPED_TRACE(i);
    write("tokens/" + path.filename().string(), bad[i]);
    const CountingTokenizer tokenizer;
    expect_equal(tokenize_cached(dataset(), tokenizer, {}, cache()), expected);
    EXPECT_GT(tokenizer.n_encoded, 0);
    EXPECT_EQ(fs::read_file(path), good) << "written anew";
  }
}

// A pipe in the place of an entry would make a reader wait for ever.
TEST_F(TokenCacheTest, WhatIsNoFileIsReplaced) {
  encoded(dataset());
  ASSERT_EQ(entries().size(), 1U);
  const auto path = root_ / "tokens" / entries()[0];
  const std::string good = fs::read_file(path);
  std::filesystem::remove(path);
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  const CountingTokenizer tokenizer;
  tokenize_cached(dataset(), tokenizer, {}, cache());
  EXPECT_GT(tokenizer.n_encoded, 0);
  EXPECT_EQ(fs::read_file(path), good);
}

TEST_F(TokenCacheTest, ConcurrentProcessesWriteOneWholeEntry) {
  const auto expected = tokenize(dataset(), FakeTokenizer(), {});
  std::vector<pid_t> children;
  for (int i = 0; i < 6; ++i) {
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      bool equal = true;
      for (int round = 0; round < 5; ++round) {
        const auto result = tokenize_cached(dataset(), FakeTokenizer(), {.n_threads = 1}, cache());
        for (size_t k = 0; k < expected.examples.size(); ++k)
          equal = equal && result.examples[k].ids == expected.examples[k].ids;
      }
      _exit(equal ? 0 : 1);
    }
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  }
  EXPECT_EQ(entries().size(), 1U) << join(entries(), " ");
}

TEST_F(TokenCacheTest, TheLeastRecentlyUsedEntriesGoAndNothingElse) {
  write("tokens/mine.txt", "not an entry");
  write("tokens/.old.tokens.tmp-123", "half");
  std::filesystem::last_write_time(root_ / "tokens/.old.tokens.tmp-123",
                                   std::filesystem::file_time_type::clock::now() - std::chrono::hours(48));
  encoded(dataset(10));
  const std::string first = entries().back() == "mine.txt" ? entries()[0] : entries().back();
  const auto size = std::filesystem::file_size(root_ / "tokens" / first);
  encoded(dataset(11));
  // The older of the two was used last.
  for (const auto& name : entries()) {
    if (name.ends_with(".tokens"))
      std::filesystem::last_write_time(root_ / "tokens" / name, std::filesystem::file_time_type::clock::now() -
                                                                    std::chrono::minutes(name == first ? 1 : 2));
  }
  auto small = cache();
  small.max_bytes = size * 5 / 2;
  tokenize_cached(dataset(12), CountingTokenizer(), {}, small);
  EXPECT_EQ(entries().size(), 3U) << join(entries(), " ");
  EXPECT_TRUE(std::filesystem::exists(root_ / "tokens" / first));
  EXPECT_TRUE(std::filesystem::exists(root_ / "tokens/mine.txt"));
  EXPECT_EQ(encoded(dataset(12)), 0);
  small.max_bytes = 1;
  tokenize_cached(dataset(13), CountingTokenizer(), {}, small);
  EXPECT_EQ(encoded(dataset(13)), 0) << "the newest stays, however small the limit";
}

TEST_F(TokenCacheTest, AFolderThatCannotBeWrittenIsNoError) {
  write("tokens", "a file where the folder should be");
  expect_equal(tokenize_cached(dataset(), FakeTokenizer(), {}, cache()), tokenize(dataset(), FakeTokenizer(), {}));
}

TEST_F(TokenCacheTest, LittleTextAndNoFolderAreNotCached) {
  auto large_only = cache();
  large_only.min_text_bytes = 1 << 20;
  tokenize_cached(dataset(), FakeTokenizer(), {}, large_only);
  auto off = cache();
  off.folder = "";
  tokenize_cached(dataset(), FakeTokenizer(), {}, off);
  EXPECT_TRUE(entries().empty());
}

TEST(TokenCacheFolderTest, FollowsTheUsersCacheFolder) {
  const char* before = std::getenv("XDG_CACHE_HOME");
  const std::string saved = before != nullptr ? before : "";
  setenv("XDG_CACHE_HOME", "/somewhere", 1);
  EXPECT_EQ(token_cache_folder(), "/somewhere/mamba-peft/tokens");
  for (const char* none : {"", "not/absolute"}) {
    setenv("XDG_CACHE_HOME", none, 1);
    EXPECT_TRUE(token_cache_folder().ends_with("/.cache/mamba-peft/tokens") || token_cache_folder().empty());
    EXPECT_FALSE(token_cache_folder().starts_with("not"));
  }
  before != nullptr ? setenv("XDG_CACHE_HOME", saved.c_str(), 1) : unsetenv("XDG_CACHE_HOME");
}

}  // namespace
}  // namespace mpeft::data
