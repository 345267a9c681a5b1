#include <random>

#include <gmock/gmock.h>

#include "unit/text/text_fixture.h"

namespace mpeft::text {
namespace {

using ::testing::HasSubstr;
using Ids = std::vector<TokenId>;

TEST(SentencePieceTokenizerTest, IdsAndTextEqualThePackages) {
  const auto tokenizer = make_tokenizer(golden("tiny_spm.model"));
  const auto cases = golden_lines("spm_cases.jsonl");
  ASSERT_GT(cases.size(), 10u);
  for (const auto& c : cases) {
    if (c["text"].is_string()) {
      EXPECT_EQ(tokenizer->encode(c["text"].get<std::string>()), c["ids"].get<Ids>()) << c.dump();
    }
    EXPECT_EQ(tokenizer->decode(c["ids"].get<Ids>(), false), c["decoded"].get<std::string>()) << c.dump();
  }
}

TEST(SentencePieceTokenizerTest, KnowsItsTokens) {
  const auto tokenizer = make_tokenizer(golden("tiny_spm.model"));
  EXPECT_EQ(tokenizer->eos_id(), 2);
  EXPECT_EQ(tokenizer->token_to_id("</s>"), 2);
  EXPECT_EQ(tokenizer->token_to_id("<unk>"), 0);
  EXPECT_EQ(tokenizer->token_to_id("no such piece"), std::nullopt);
  EXPECT_EQ(tokenizer->fingerprint(), fs::sha256_file(golden("tiny_spm.model")));
}

TEST(SentencePieceTokenizerTest, SpecialPiecesHaveNoText) {
  const auto tokenizer = make_tokenizer(golden("tiny_spm.model"));
  const Ids oslo = tokenizer->encode("Oslo");
  Ids framed = oslo;
  framed.insert(framed.begin(), 1);
  framed.push_back(2);
  EXPECT_EQ(tokenizer->decode(framed, true), "Oslo");
  EXPECT_EQ(tokenizer->decode(framed, false), "Oslo");
  EXPECT_EQ(tokenizer->decode({0}, false), " \u2047 ");
  EXPECT_EQ(tokenizer->decode({0}, true), "");
}

TEST(SentencePieceTokenizerTest, IdsOutOfRangeAreErrors) {
  const auto tokenizer = make_tokenizer(golden("tiny_spm.model"));
  EXPECT_THROW(tokenizer->decode({-1}, false), DataError);
  EXPECT_THROW(tokenizer->decode({static_cast<TokenId>(tokenizer->vocab_size())}, false), DataError);
}

TEST(SentencePieceTokenizerTest, InvalidUtf8IsReplacedFirst) {
  const auto tokenizer = make_tokenizer(golden("tiny_spm.model"));
  EXPECT_EQ(tokenizer->encode("a\xFF\xE2\x82 b"), tokenizer->encode("a\uFFFD\uFFFD b"));
}

class SentencePieceTokenizerFileTest : public TemporaryFolder {};

TEST_F(SentencePieceTokenizerFileTest, CorruptModelsAreRefused) {
  EXPECT_THAT(error_of("spiece.model", ""), HasSubstr("empty"));
  EXPECT_THAT(error_of("spiece.model", "no model at all"), HasSubstr("not a SentencePiece model"));
  EXPECT_THAT(error_of("spiece.model", "no model at all"), HasSubstr("fetch it again, or name another tokenizer"));
  const std::string whole = fs::read_file(golden("tiny_spm.model"));
  std::mt19937 random(3);
  for (int i = 0; i < 200; ++i) {  // loads or is refused, and never anything else
    std::string changed = whole.substr(0, i % 2 == 0 ? whole.size() : random() % whole.size());
    if (changed.empty()) continue;
    changed[random() % changed.size()] = static_cast<char>(random());
    try {
      const auto tokenizer = make_tokenizer(write("spiece.model", changed));
      tokenizer->decode(tokenizer->encode("the capital of Norway"), true);
    } catch (const DataError&) {
    }
  }
}

}  // namespace
}  // namespace mpeft::text
