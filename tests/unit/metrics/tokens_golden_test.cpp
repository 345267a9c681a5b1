// Tokenizers, stemmer and WordNet against NLTK's and sacreBLEU's own (scripts/golden/metrics_reference.py tokenize).

#include <gmock/gmock.h>

#include "golden_cases.h"
#include "metrics/porter_stemmer.h"
#include "metrics/tokenizer_13a.h"
#include "metrics/treebank.h"
#include "metrics/word_tokenizer.h"

namespace mpeft::metrics {
namespace {

using Strings = std::vector<std::string>;

template <typename Texts>
Strings encode_all(const Texts& texts) {
  Strings encoded;
  for (const auto& text : texts) encoded.push_back(encode_utf8(text));
  return encoded;
}

/// Calls check(text, line) for each text until one fails.
template <typename Check>
void for_each_text(Check check) {
  for (const auto& folder : case_folders()) {
    const auto lines = read_json_lines(folder / "texts.jsonl");
    for (size_t i = 0; i < lines.size() && !testing::Test::HasFailure(); ++i) {
      SCOPED_TRACE(testing::Message() << (folder / "texts.jsonl").string() << ":" << i + 1 << ": "
                                      << lines[i]["text"].dump());
      check(lines[i].at("text").get<std::string>(), lines[i]);
    }
  }
}

TEST(Tokenizer13a, EqualsTheReference) {
  for_each_text([](const std::string& text, const nlohmann::json& line) {
    EXPECT_EQ(encode_all(tokenize_13a(text)), line.at("bleu_tokens").get<Strings>());
  });
}

TEST(Treebank, EqualsTheReference) {
  for_each_text([](const std::string& text, const nlohmann::json& line) {
    EXPECT_EQ(encode_all(tokenize_treebank(decode_utf8(text))), line.at("treebank").get<Strings>());
  });
}

TEST(Unicode, LowersAsPython) {
  for_each_text([](const std::string&, const nlohmann::json& line) {
    for (size_t i = 0; i < line.at("words").size(); ++i) {
      EXPECT_EQ(encode_utf8(to_lower(decode_utf8(line["words"][i].get<std::string>()))),
                line.at("lower").at(i).get<std::string>());
    }
  });
}

TEST(PorterStemmer, EqualsTheReference) {
  for_each_text([](const std::string&, const nlohmann::json& line) {
    for (size_t i = 0; i < line.at("lower").size(); ++i) {
      EXPECT_EQ(encode_utf8(porter_stem(decode_utf8(line["lower"][i].get<std::string>()))), line.at("stems").at(i));
    }
  });
}

TEST(Punkt, EqualsTheReference) {
  if (const std::string missing = missing_language_data(); !missing.empty()) GTEST_SKIP() << missing;
  const PunktSentenceSplitter splitter(read_punkt_parameters(*find_punkt_folder()));
  for_each_text([&](const std::string& text, const nlohmann::json& line) {
    const Text decoded = decode_utf8(text);
    EXPECT_EQ(encode_all(splitter.split(decoded)), line.at("punkt").get<Strings>());
  });
}

TEST(WordTokenizer, EqualsTheReference) {
  if (const std::string missing = missing_language_data(); !missing.empty()) GTEST_SKIP() << missing;
  const WordTokenizer tokenizer = WordTokenizer::load();
  for_each_text([&](const std::string& text, const nlohmann::json& line) {
    EXPECT_EQ(encode_all(tokenizer.tokenize(text)), line.at("words").get<Strings>());
  });
}

TEST(WordNet, SynonymsEqualTheReference) {
  if (const std::string missing = missing_language_data(); !missing.empty()) GTEST_SKIP() << missing;
  const WordNet wordnet(find_wordnet_folder());
  for_each_text([&](const std::string&, const nlohmann::json& line) {
    for (size_t i = 0; i < line.at("lower").size(); ++i) {
      const auto word = line["lower"][i].get<std::string>();
      auto synonyms = wordnet.synonyms(word);
      synonyms.insert(word);
      EXPECT_THAT(synonyms, testing::UnorderedElementsAreArray(line.at("synonyms").at(i).get<Strings>())) << word;
    }
  });
}

}  // namespace
}  // namespace mpeft::metrics
