#include <atomic>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <random>
#include <set>
#include <thread>

#include <gmock/gmock.h>

#include "mpeft/core/strings.h"

#include "unit/text/text_fixture.h"

namespace mpeft::text {
namespace {

using ::testing::HasSubstr;
using Ids = std::vector<TokenId>;
using Json = nlohmann::json;

TEST(HfBpeTokenizerTest, IdsAndTextEqualThePackages) {
  const auto tiny = make_tokenizer(golden("tiny_tokenizer.json"));
  const auto flags = make_tokenizer(golden("flags_tokenizer.json"));
  const auto cases = golden_lines("bpe_cases.jsonl");
  ASSERT_GT(cases.size(), 100u);
  for (const auto& c : cases) {
    const Tokenizer& tokenizer = c["file"] == "tiny_tokenizer.json" ? *tiny : *flags;
    const auto ids = c["ids"].get<Ids>();
    if (c["text"].is_string()) {
      EXPECT_EQ(tokenizer.encode(c["text"].get<std::string>()), ids) << c.dump();
    }
    EXPECT_EQ(tokenizer.decode(ids, false), c["decoded"].get<std::string>()) << c.dump();
    EXPECT_EQ(tokenizer.decode(ids, true), c["skipped"].get<std::string>()) << c.dump();
  }
}

TEST(HfBpeTokenizerTest, CachedWordsEqualFreshOnes) {
  const auto tokenizer = make_tokenizer(golden("tiny_tokenizer.json"));
  for (int round = 0; round < 3; ++round) {
    for (const auto& c : golden_lines("bpe_cases.jsonl")) {
      if (c["file"] != "tiny_tokenizer.json" || !c["text"].is_string()) continue;
      EXPECT_EQ(tokenizer->encode(c["text"].get<std::string>()), c["ids"].get<Ids>());
    }
  }
}

TEST(HfBpeTokenizerTest, DecodingInvertsEncodingOfNormalizedText) {
  const auto tokenizer = make_tokenizer(golden("tiny_tokenizer.json"));
  for (const std::string text :
       {"Oslo  has\t709,037 inhabitants.\n", "日本 é 👍🏽   ", "<|endoftext|>x<|padding|>"}) {
    EXPECT_EQ(tokenizer->decode(tokenizer->encode(text), false), text);
  }
  EXPECT_EQ(tokenizer->decode(tokenizer->encode("a<|endoftext|>b"), true), "ab");
}

TEST(HfBpeTokenizerTest, InvalidUtf8IsReplacedFirst) {
  const auto tokenizer = make_tokenizer(golden("tiny_tokenizer.json"));
  for (const std::string bytes :
       {"\xFF", "a\xC3", "\xE2\x82 x", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xC0\x80", "the\x80\x80"}) {
    EXPECT_EQ(tokenizer->encode(bytes), tokenizer->encode(to_valid_utf8(bytes)));
    EXPECT_EQ(tokenizer->decode(tokenizer->encode(bytes), false), to_valid_utf8(bytes));
  }
}

TEST(HfBpeTokenizerTest, RandomBytesNeverCrashAndRoundTrip) {
  const auto tokenizer = make_tokenizer(golden("tiny_tokenizer.json"));
  std::mt19937 random(7);
  for (int i = 0; i < 2000; ++i) {
    std::string bytes(random() % 50, '\0');
    for (char& c : bytes) c = static_cast<char>(random());
    const auto ids = tokenizer->encode(bytes);
    for (const TokenId id : ids) ASSERT_TRUE(id >= 0 && id < tokenizer->vocab_size());
    ASSERT_EQ(tokenizer->encode(tokenizer->decode(ids, false)), ids);
  }
}

TEST(HfBpeTokenizerTest, LongWordsMergeAsShortOnesDo) {
  const auto tokenizer = make_tokenizer(golden("tiny_tokenizer.json"));
  // No merge of the tiny vocabulary joins the end of "the" to its beginning, so n of them are n times its ids; 64 bytes
  // are the border between the two ways of merging.
  const Ids one = tokenizer->encode("the");
  ASSERT_LT(one.size(), 3u);
  for (const size_t n : {2, 8, 9, 20, 21, 22, 200}) {
    std::string word;
    Ids expected;
    for (size_t i = 0; i < n; ++i) {
      word += "the";
      expected.insert(expected.end(), one.begin(), one.end());
    }
    EXPECT_EQ(tokenizer->encode(word), expected) << n;
  }
}

TEST(HfBpeTokenizerTest, HostileTextsTakeLinearTime) {
  const auto tokenizer = make_tokenizer(golden("tiny_tokenizer.json"));
  std::string marks = "a";
  for (int i = 0; i < 100'000; ++i) marks += i % 2 == 0 ? "\u0301" : "\u0323";  // classes 230 and 220
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_FALSE(tokenizer->encode(std::string(1'000'000, 't')).empty());
  EXPECT_FALSE(tokenizer->encode(std::string(1'000'000, ' ')).empty());
  EXPECT_FALSE(tokenizer->encode(marks).empty());
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(20));  // quadratic would be hours
}

TEST(HfBpeTokenizerTest, ThreadsGetTheSameIds) {
  const auto tokenizer = make_tokenizer(golden("tiny_tokenizer.json"));
  std::mt19937 random(11);
  std::vector<std::string> texts;
  std::vector<Ids> expected;
  for (int i = 0; i < 3000; ++i) {
    std::string text;
    for (size_t n = random() % 30; n > 0; --n) text += "abcdefgh theO\n"[random() % 14];
    texts.push_back(text);
  }
  const auto alone = make_tokenizer(golden("tiny_tokenizer.json"));
  for (const auto& text : texts) expected.push_back(alone->encode(text));
  std::vector<std::thread> threads;
  std::atomic<int> wrong = 0;
  for (unsigned t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (size_t i = 0; i < texts.size(); ++i) {
        const size_t k = (i * 7 + t * 31) % texts.size();
        if (tokenizer->encode(texts[k]) != expected[k]) ++wrong;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST(HfBpeTokenizerTest, KnowsItsTokens) {
  const auto tokenizer = make_tokenizer(golden("tiny_tokenizer.json"));
  EXPECT_EQ(tokenizer->eos_id(), 0);
  EXPECT_EQ(tokenizer->token_to_id("<|padding|>"), 1);
  EXPECT_EQ(tokenizer->token_to_id("no such token"), std::nullopt);
  EXPECT_TRUE(tokenizer->token_to_id("\u0120the").has_value());
  EXPECT_EQ(tokenizer->token_to_id("  "), tokenizer->vocab_size() - 1);
  EXPECT_EQ(tokenizer->fingerprint(), fs::sha256_file(golden("tiny_tokenizer.json")));
  EXPECT_EQ(tokenizer->fingerprint().size(), 64u);
}

TEST(HfBpeTokenizerTest, IdsOutOfRangeAreErrors) {
  const auto tokenizer = make_tokenizer(golden("tiny_tokenizer.json"));
  EXPECT_THROW(tokenizer->decode({-1}, false), DataError);
  EXPECT_THROW(tokenizer->decode({0, static_cast<TokenId>(tokenizer->vocab_size())}, true), DataError);
}

TEST(HfBpeTokenizerTest, RealFileGivesPublishedIds) {
  const char* root = std::getenv("MPEFT_DATA_ROOT");
  if (root == nullptr) GTEST_SKIP() << "MPEFT_DATA_ROOT is not set";
  const std::string path = std::string(root) + "/tokenizer";
  if (!std::filesystem::exists(path + "/20B_tokenizer.json")) GTEST_SKIP() << path << " has no 20B_tokenizer.json";
  const auto tokenizer = make_tokenizer(path);
  EXPECT_EQ(tokenizer->vocab_size(), 50277);
  EXPECT_EQ(tokenizer->eos_id(), 0);
  // From the tokenizers package, 0.23.3.
  EXPECT_EQ(tokenizer->encode("Hello world  <|endoftext|>   it's \u00e9"),
            (Ids{12092, 1533, 50276, 0, 50275, 262, 434, 3974}));
}

class HfBpeTokenizerFileTest : public TemporaryFolder {
 protected:
  Json tiny() const { return Json::parse(fs::read_file(golden("tiny_tokenizer.json"))); }
  std::string error_with(const std::function<void(Json&)>& change) const {
    Json json = tiny();
    change(json);
    return error_of("tokenizer.json", json.dump());
  }
  std::unique_ptr<Tokenizer> load_with(const std::function<void(Json&)>& change) const {
    Json json = tiny();
    change(json);
    return make_tokenizer(write("tokenizer.json", json.dump()));
  }
};

TEST_F(HfBpeTokenizerFileTest, BothSpellingsOfMergesAreTheSame) {
  const auto pairs = load_with([](Json& j) {
    for (auto& merge : j["model"]["merges"]) {
      if (!merge.is_string()) continue;
      const auto text = merge.get<std::string>();
      merge = {text.substr(0, text.find(' ')), text.substr(text.find(' ') + 1)};
    }
  });
  const auto strings = load_with([](Json& j) {
    for (auto& merge : j["model"]["merges"]) {
      if (merge.is_array()) merge = merge[0].get<std::string>() + " " + merge[1].get<std::string>();
    }
  });
  const std::string text = "Oslo, the capital of Norway, has 709,037 inhabitants.";
  EXPECT_EQ(pairs->encode(text), strings->encode(text));
  EXPECT_LT(pairs->encode(text).size(), text.size());
}

TEST_F(HfBpeTokenizerFileTest, NeutralValuesOfOptionsAreAccepted) {
  const auto tokenizer = load_with([](Json& j) {
    j["model"]["unk_token"] = "<|endoftext|>";
    j["model"]["byte_fallback"] = true;
    j["model"]["dropout"] = 0.0;
    j["model"]["continuing_subword_prefix"] = "";
    j["model"]["end_of_word_suffix"] = "";
    j["normalizer"] = {{"type", "Sequence"}, {"normalizers", {{{"type", "NFC"}}}}};
  });
  EXPECT_EQ(tokenizer->encode("e\u0301"), make_tokenizer(golden("tiny_tokenizer.json"))->encode("\u00e9"));
}

TEST_F(HfBpeTokenizerFileTest, WithoutNormalizerTextStaysAsItIs) {
  const auto tokenizer = load_with([](Json& j) { j["normalizer"] = nullptr; });
  EXPECT_EQ(tokenizer->decode(tokenizer->encode("e\u0301"), false), "e\u0301");
}

TEST_F(HfBpeTokenizerFileTest, PrefixSpaceIsPutBeforeEveryPiece) {
  const auto tokenizer = load_with([](Json& j) { j["pre_tokenizer"]["add_prefix_space"] = true; });
  EXPECT_EQ(tokenizer->decode(tokenizer->encode("the<|endoftext|>the"), false), " the<|endoftext|> the");
  EXPECT_EQ(tokenizer->encode(" the"), tokenizer->encode("the"));
  EXPECT_TRUE(tokenizer->encode("").empty());
}

TEST_F(HfBpeTokenizerFileTest, WhatIsNotSupportedIsRefusedByName) {
  EXPECT_THAT(error_with([](Json& j) {
                j["normalizer"] = {{"type", "Lowercase"}};
              }),
              HasSubstr("normalizer 'Lowercase'"));
  EXPECT_THAT(error_with([](Json& j) { j["pre_tokenizer"] = {{"type", "Whitespace"}}; }), HasSubstr("'Whitespace'"));
  EXPECT_THAT(error_with([](Json& j) { j["pre_tokenizer"] = nullptr; }), HasSubstr("ByteLevel"));
  EXPECT_THAT(error_with([](Json& j) { j["decoder"] = {{"type", "Metaspace"}}; }), HasSubstr("decoder 'Metaspace'"));
  EXPECT_THAT(error_with([](Json& j) { j["model"]["type"] = "WordPiece"; }), HasSubstr("'WordPiece'"));
  EXPECT_THAT(error_with([](Json& j) { j["model"]["dropout"] = 0.1; }), HasSubstr("model.dropout"));
  EXPECT_THAT(error_with([](Json& j) { j["model"]["end_of_word_suffix"] = "</w>"; }), HasSubstr("end_of_word_suffix"));
  EXPECT_THAT(error_with([](Json& j) {
                j["model"]["unk_token"] = "<|endoftext|>";
                j["model"]["vocab"].erase("!");
              }),
              HasSubstr("all 256 bytes"));
  EXPECT_THAT(error_with([](Json& j) {
                j["pre_tokenizer"] = {{"type", "Sequence"},
                                      {"pretokenizers",
                                       {{{"type", "Split"}, {"pattern", {{"Regex", "("}}}, {"behavior", "Isolated"}},
                                        {{"type", "ByteLevel"}}}}};
              }),
              HasSubstr("does not compile"));
}

TEST_F(HfBpeTokenizerFileTest, CorruptContentsAreRefusedWithTheirPlace) {
  EXPECT_THAT(error_with([](Json& j) { j["model"]["vocab"]["!"] = "x"; }), HasSubstr("model.vocab.!: expected an id"));
  EXPECT_THAT(error_with([](Json& j) { j["model"]["vocab"]["!"] = -3; }), HasSubstr("outside [0, "));
  EXPECT_THAT(error_with([](Json& j) { j["model"]["vocab"]["!"] = 4'000'000'000; }), HasSubstr("outside [0, "));
  EXPECT_THAT(error_with([](Json& j) { j["model"]["vocab"]["!"] = 1.5; }), HasSubstr("expected an id"));
  EXPECT_THAT(error_with([](Json& j) { j["model"]["vocab"]["!"] = j["model"]["vocab"]["a"]; }),
              HasSubstr("two tokens"));
  EXPECT_THAT(error_with([](Json& j) { j["model"]["vocab"] = Json::array(); }), HasSubstr("expected an object"));
  EXPECT_THAT(error_with([](Json& j) { j["model"]["merges"].push_back("nospace"); }), HasSubstr("a space between"));
  EXPECT_THAT(error_with([](Json& j) { j["model"]["merges"].push_back("a b c"); }), HasSubstr("a space between"));
  EXPECT_THAT(error_with([](Json& j) { j["model"]["merges"].push_back(Json{"a"}); }), HasSubstr("expected two tokens"));
  EXPECT_THAT(error_with([](Json& j) { j["model"]["merges"].push_back("! \""); }), HasSubstr("is not in model.vocab"));
  EXPECT_THAT(error_with([](Json& j) { j["model"]["merges"] = 3; }), HasSubstr("model.merges: expected a list"));
  EXPECT_THAT(error_with([](Json& j) { j["added_tokens"][0]["id"] = 5; }), HasSubstr("is its id already"));
  EXPECT_THAT(error_with([](Json& j) { j["added_tokens"].back()["id"] = 5000; }), HasSubstr("next free one"));
  EXPECT_THAT(error_with([](Json& j) { j["added_tokens"].push_back(j["added_tokens"][0]); }), HasSubstr("there twice"));
  EXPECT_THAT(error_with([](Json& j) { j["added_tokens"][0]["content"] = ""; }), HasSubstr("is empty"));
  EXPECT_THAT(error_with([](Json& j) { j["added_tokens"][0]["content"] = std::string(5000, 'x'); }),
              HasSubstr("limit of 4096"));
  EXPECT_THAT(error_with([](Json& j) { j["added_tokens"][0]["special"] = "yes"; }),
              HasSubstr("expected true or false"));
  EXPECT_THAT(error_with([](Json& j) { j.erase("model"); }), HasSubstr("model"));
}

TEST_F(HfBpeTokenizerFileTest, BrokenFilesAreRefused) {
  EXPECT_THAT(error_of("tokenizer.json", ""), HasSubstr("empty"));
  EXPECT_THAT(error_of("tokenizer.json", "{"), HasSubstr("tokenizer.json:1:2: not valid JSON: syntax error"));
  EXPECT_THAT(error_of("tokenizer.json", "[]"), HasSubstr("expected a JSON object"));
  EXPECT_THAT(error_of("tokenizer.json", "{\"model\": \"\xFF\"}"), HasSubstr("tokenizer.json:1:12: not valid JSON: "));
  EXPECT_THAT(error_of("tokenizer.json", std::string(1 << 20, '[')), HasSubstr("levels deep"));
  const std::string whole = fs::read_file(golden("tiny_tokenizer.json"));
  for (size_t size = 1; size < whole.size(); size += 397)
    EXPECT_NE(error_of("tokenizer.json", whole.substr(0, size)), "") << size;
  std::mt19937 random(5);
  for (int i = 0; i < 150; ++i) {  // one changed byte: loads or is refused, and never anything else
    std::string changed = whole;
    changed[random() % changed.size()] = static_cast<char>(random());
    try {
      make_tokenizer(write("tokenizer.json", changed))->encode("Oslo, the <|endoftext|> capital");
    } catch (const DataError&) {
    }
  }
}

}  // namespace
}  // namespace mpeft::text
