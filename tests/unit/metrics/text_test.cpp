// The text parts one by one: Unicode, tokenizers, stemmer, subsequences.

#include <algorithm>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "mpeft/core/random.h"

#include "metrics/lcs.h"
#include "metrics/porter_stemmer.h"
#include "metrics/tokenizer_13a.h"
#include "metrics/treebank.h"
#include "metrics/unicode.h"

namespace mpeft::metrics {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(Unicode, RepairsInvalidUtf8) {
  EXPECT_EQ(decode_utf8("a\xff\xc3"), U"a\uFFFD\uFFFD");
  EXPECT_EQ(decode_utf8("\xe2\x82"), U"\uFFFD");
  EXPECT_EQ(encode_utf8(decode_utf8("é日😀")), "é日😀");
}

TEST(Unicode, LowersTheSpecialCases) {
  EXPECT_EQ(to_lower(U"İSTANBUL"), U"i\u0307stanbul");
  EXPECT_EQ(to_lower(U"ΟΔΟΣ ΣΑΣ. Σ ΑΣ\u0301 ΑΣ'Α"), U"οδος σας. σ ας\u0301 ασ'α");
  EXPECT_EQ(to_lower(U"\u212A\u1E9E"), U"kß");
}

TEST(Unicode, TellsTheTwoKindsOfWhiteSpaceAndWordsApart) {
  EXPECT_TRUE(is_space(0x1C));
  EXPECT_FALSE(is_pattern_space(0x1C));
  EXPECT_TRUE(is_word(U'²'));
  EXPECT_FALSE(is_pattern_word(U'²'));
  EXPECT_FALSE(is_word(0x0301));
  EXPECT_TRUE(is_pattern_word(0x0301));
  EXPECT_TRUE(is_upper(U'Ⅷ'));
  EXPECT_TRUE(is_lower(U'ª'));
  EXPECT_TRUE(is_decimal(U'३'));
}

TEST(Tokenizer13a, SeparatesPunctuationButNotNumbers) {
  EXPECT_THAT(tokenize_13a("It's 1,000.5 (or so), in 1999."),
              ElementsAre(U"It's", U"1,000.5", U"(", U"or", U"so", U")", U",", U"in", U"1999", U"."));
  EXPECT_THAT(tokenize_13a("&amp;lt; &quot;co-\nop&quot; 3-D"),
              ElementsAre(U"<", U"\"", U"coop", U"\"", U"3", U"-", U"D"));
  EXPECT_THAT(tokenize_13a(" \n"), IsEmpty());
}

TEST(Treebank, SeparatesCliticsQuotesAndTheFinalStop) {
  EXPECT_THAT(tokenize_treebank(U"He said \"I can't, won't.\""),
              ElementsAre(U"He", U"said", U"``", U"I", U"ca", U"n't", U",", U"wo", U"n't", U".", U"''"));
  EXPECT_THAT(tokenize_treebank(U"'Tis gonna be cannot's."),
              ElementsAre(U"'", U"Tis", U"gon", U"na", U"be", U"can", U"not", U"'s", U"."));
  EXPECT_THAT(tokenize_treebank(U"U.S. at 3.5 and e.g. this."),
              ElementsAre(U"U.S.", U"at", U"3.5", U"and", U"e.g.", U"this", U"."));
  EXPECT_THAT(tokenize_treebank(U""), IsEmpty());
}

TEST(PorterStemmer, AppliesNltksExtensions) {
  EXPECT_EQ(porter_stem(U"dying"), U"die");
  EXPECT_EQ(porter_stem(U"flies"), U"fli");
  EXPECT_EQ(porter_stem(U"ties"), U"tie");
  EXPECT_EQ(porter_stem(U"enjoy"), U"enjoy");
  EXPECT_EQ(porter_stem(U"happy"), U"happi");
  EXPECT_EQ(porter_stem(U"a*ding"), U"ad");
  EXPECT_EQ(porter_stem(U"as"), U"as");
  EXPECT_EQ(porter_stem(U""), U"");
  EXPECT_EQ(porter_stem(U"ééing"), U"ééing");
}

/// The definition, with the table and the walk of rouge_score.
std::vector<size_t> plain_positions(const std::vector<uint32_t>& rows, const std::vector<uint32_t>& columns) {
  std::vector<std::vector<int>> table(rows.size() + 1, std::vector<int>(columns.size() + 1));
  for (size_t i = 1; i <= rows.size(); ++i) {
    for (size_t j = 1; j <= columns.size(); ++j) {
      table[i][j] =
          rows[i - 1] == columns[j - 1] ? table[i - 1][j - 1] + 1 : std::max(table[i - 1][j], table[i][j - 1]);
    }
  }
  std::vector<size_t> places;
  for (size_t i = rows.size(), j = columns.size(); i > 0 && j > 0;) {
    if (rows[i - 1] == columns[j - 1]) {
      places.push_back(--i);
      --j;
    } else if (table[i][j - 1] > table[i - 1][j]) {
      --j;
    } else {
      --i;
    }
  }
  std::reverse(places.begin(), places.end());
  return places;
}

TEST(Lcs, EqualsThePlainTable) {
  Random random(5);
  for (int trial = 0; trial < 2000; ++trial) {
    const auto draw = [&] {
      std::vector<uint32_t> tokens(random.below(trial % 10 == 0 ? 300 : 70));
      for (uint32_t& token : tokens)
        token = static_cast<uint32_t>(1 + random.below(1 + static_cast<uint64_t>(trial) % 17));
      return tokens;
    };
    const auto rows = draw();
    const auto columns = draw();
    const auto expected = plain_positions(rows, columns);
    ASSERT_EQ(LcsColumns(columns).positions(rows), expected) << "trial " << trial;
    ASSERT_EQ(LcsColumns(columns).length(rows), expected.size()) << "trial " << trial;
  }
}

}  // namespace
}  // namespace mpeft::metrics
