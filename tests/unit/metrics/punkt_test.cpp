#include "metrics/punkt.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "mpeft/core/error.h"
#include "mpeft/core/logging.h"

#include "metrics/punkt_context.h"
#include "metrics/word_tokenizer.h"
#include "scoped_environment.h"
#include "support/temporary_folder.h"

namespace mpeft::metrics {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::ThrowsMessage;

PunktParameters small_parameters() {
  PunktParameters parameters;
  parameters.abbreviations = {U"dr", U"e.g"};
  parameters.collocations = {U"j\tbach"};
  parameters.sentence_starters = {U"however"};
  parameters.orthography = {{U"the", 2 | 32}, {U"smith", 4}};
  return parameters;
}

std::vector<std::string> split(const std::string& text) {
  const Text decoded = decode_utf8(text);
  std::vector<std::string> sentences;
  for (const TextView sentence : PunktSentenceSplitter(small_parameters()).split(decoded)) {
    sentences.push_back(encode_utf8(sentence));
  }
  return sentences;
}

TEST(PunktSentenceSplitter, EndsSentencesAtStops) {
  EXPECT_THAT(split("One came. Two left! Three? "), ElementsAre("One came.", "Two left!", "Three?"));
  EXPECT_THAT(split("No stop here"), ElementsAre("No stop here"));
}

TEST(PunktSentenceSplitter, KeepsAbbreviationsUnlessTheNextWordStartsASentence) {
  EXPECT_THAT(split("Ask Dr. Smith now."), ElementsAre("Ask Dr. Smith now."));
  EXPECT_THAT(split("Ask the Dr. The man left."), ElementsAre("Ask the Dr.", "The man left."));
  EXPECT_THAT(split("Ask the Dr. However he left."), ElementsAre("Ask the Dr.", "However he left."));
}

TEST(PunktSentenceSplitter, KeepsInitialsAndCollocations) {
  EXPECT_THAT(split("It was J. Bach. Yes"), ElementsAre("It was J. Bach.", "Yes"));
  EXPECT_THAT(split("A. Cee came."), ElementsAre("A. Cee came."));
}

TEST(PunktSentenceSplitter, GivesClosingQuotesToTheSentenceBefore) {
  EXPECT_THAT(split("(He left.) She \"stayed.\" End"), ElementsAre("(He left.)", "She \"stayed.\"", "End"));
}

TEST(PunktSentenceSplitter, HandlesEmptyTexts) {
  EXPECT_THAT(split(""), IsEmpty());
  EXPECT_THAT(split(" \n\t"), IsEmpty());
}

TEST(PunktSentenceSplitter, LosesNothingButWhiteSpace) {
  for (const std::string text : {"...", ". . .", "a.\n\n\"b.\" c", ".)).", "?!\"' x. --y", "\x1c. \x1d a. B"}) {
    std::string joined;
    for (const auto& sentence : split(text)) joined += sentence;
    const auto visible = [](const std::string& s) {
      std::string kept;
      for (const char c : s) {
        if (static_cast<unsigned char>(c) > ' ') kept += c;
      }
      return kept;
    };
    EXPECT_EQ(visible(joined), visible(text)) << text;
  }
}

TEST(PunktWords, KeepFullStopsAndCutPunctuation) {
  EXPECT_THAT(punkt_words(U"(a, b,c d. e... f--g . . . h)"),
              ElementsAre(U"(", U"a", U",", U"b,c", U"d.", U"e", U"...", U"f", U"--", U"g", U". . .", U"h", U")"));
}

TEST(PunktParametersFolder, NamesTheLineThatIsWrong) {
  const test::TemporaryFolder folder;
  folder.write("abbrev_types.txt", "dr\r\nmr\n");
  folder.write("collocations.tab", "j\tbach\n");
  folder.write("sent_starters.txt", "however");
  folder.write("ortho_context.tab", "the\t34\nsmith\t4\n");
  const PunktParameters parameters = read_punkt_parameters(folder.path());
  EXPECT_TRUE(parameters.abbreviations.contains(U"dr"));
  EXPECT_EQ(parameters.orthography.at(U"the"), 34U);
  folder.write("ortho_context.tab", "the\t34\nsmith\tmany\n");
  EXPECT_THAT([&] { read_punkt_parameters(folder.path()); },
              ThrowsMessage<DataError>(HasSubstr("ortho_context.tab:2")));
  std::filesystem::remove(folder.path() / "sent_starters.txt");
  EXPECT_THROW(read_punkt_parameters(folder.path()), DataError);
}

TEST(PunktFolder, IsFoundByNltkData) {
  const test::TemporaryFolder folder;
  folder.write("tokenizers/punkt_tab/english/ortho_context.tab", "");
  const ScopedEnvironment data("NLTK_DATA", ("/no/such:" + folder.path().string()).c_str());
  EXPECT_EQ(find_punkt_folder(), folder.path() / "tokenizers/punkt_tab/english");
}

TEST(WordTokenizer, WarnsOnceAndCutsNoSentencesWithoutPunkt) {
  const ScopedEnvironment data("NLTK_DATA", nullptr);
  const ScopedEnvironment home("HOME", "/no/such/folder");
  if (find_punkt_folder()) GTEST_SKIP() << "this system has punkt_tab in a folder for everybody";
  testing::internal::CaptureStderr();
  const WordTokenizer tokenizer = WordTokenizer::load();
  WordTokenizer::load();
  const std::string printed = testing::internal::GetCapturedStderr();
  EXPECT_THAT(printed, HasSubstr("punkt_tab"));
  EXPECT_EQ(printed.find("punkt_tab was not found"), printed.rfind("punkt_tab was not found"));
  EXPECT_THAT(tokenizer.tokenize("It ends. It can't."), ElementsAre(U"It", U"ends.", U"It", U"ca", U"n't", U"."));
}

}  // namespace
}  // namespace mpeft::metrics
