#include "metrics/wordnet.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "mpeft/core/error.h"
#include "mpeft/metrics/metric.h"

#include "scoped_environment.h"
#include "support/temporary_folder.h"

namespace mpeft::metrics {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::ThrowsMessage;

constexpr const char* kLicence = "  1 A licence line, as at the head of WordNet's files\n";

/// A WordNet of a few words, written by hand in the format of wndb(5WN).
class SmallWordNet : public testing::Test {
 protected:
  SmallWordNet() {
    const std::string head = kLicence;
    const std::string car = "00000052 06 n 03 car 0 auto 0 motor_car 0 001 @ 00000200 n 0000 | a vehicle\n";
    static_assert(sizeof("  1 A licence line, as at the head of WordNet's files\n") - 1 == 54);
    data_noun_ = head + car;
    data_noun_.replace(data_noun_.find("00000052"), 8, "00000054");
    const std::string ox = "00000138 05 n 02 ox 0 Bos 0 000 | cattle\n";
    data_noun_ += ox;
    data_noun_.replace(data_noun_.find("00000138"), 8, offset_of("cattle"));
    write_part(
        "noun",
        head + "auto n 1 1 @ 1 1 00000054  \ncar n 1 1 @ 1 1 00000054  \nox n 1 0 1 0 " + offset_of("cattle") + "  \n",
        data_noun_, "oxen ox\n");
    write_part("verb", head + "run v 1 0 1 0 00000054  \n",
               head + "00000054 38 v 02 run 0 operate 0 000 01 + 02 00 | go\n", "ran run\n");
    write_part("adj", head + "big a 1 0 1 0 00000054  \n",
               head + "00000054 00 s 03 big 0 large(p) 0 great(ip) 1 000 | size\n", "bigger big\n");
    write_part("adv", head, head, "");
  }

  std::string offset_of(const std::string& gloss) const {
    const size_t end = data_noun_.find(gloss);
    const size_t begin = data_noun_.rfind('\n', end) + 1;
    const std::string digits = std::to_string(begin);
    return std::string(8 - digits.size(), '0') + digits;
  }

  void write_part(const std::string& part, const std::string& index, const std::string& data,
                  const std::string& exceptions) {
    folder_.write("index." + part, index);
    folder_.write("data." + part, data);
    folder_.write(part + ".exc", exceptions);
  }

  test::TemporaryFolder folder_;
  std::string data_noun_;
};

TEST_F(SmallWordNet, FindsOneWordLemmasOfEverySense) {
  EXPECT_THAT(WordNet(folder_.path()).synonyms("car"), ElementsAre("auto", "car"));
  EXPECT_THAT(WordNet(folder_.path()).synonyms("run"), ElementsAre("operate", "run"));
}

TEST_F(SmallWordNet, UsesExceptionsOrElseDetachment) {
  const WordNet wordnet(folder_.path());
  EXPECT_THAT(wordnet.synonyms("oxen"), ElementsAre("Bos", "ox"));
  EXPECT_THAT(wordnet.synonyms("cars"), ElementsAre("auto", "car"));
  EXPECT_THAT(wordnet.base_forms("autos", "noun"), ElementsAre("auto"));
  EXPECT_THAT(wordnet.base_forms("cars", "verb"), IsEmpty());
}

TEST_F(SmallWordNet, DropsSyntacticMarkers) {
  EXPECT_THAT(WordNet(folder_.path()).synonyms("bigger"), ElementsAre("big", "great", "large"));
}

TEST_F(SmallWordNet, FindsNothingForStrangeWords) {
  const WordNet wordnet(folder_.path());
  for (const std::string word : {"", " ", "s", "ses", "zzz", "\xff\xfe", "a b", "car ", "1", "es"}) {
    EXPECT_THAT(wordnet.synonyms(word), IsEmpty()) << word;
  }
}

TEST_F(SmallWordNet, NamesTheCorruptPlace) {
  const auto synonyms_of = [&](const std::string& word) {
    return [&, word] { WordNet(folder_.path()).synonyms(word); };
  };
  folder_.write("index.noun", "car n 1 1 @ 1 1 00000055  \n");
  EXPECT_THAT(synonyms_of("car"), ThrowsMessage<DataError>(HasSubstr("data.noun: byte 55")));
  folder_.write("index.noun", "car n 1 1 @ 1 1 99999999  \n");
  EXPECT_THAT(synonyms_of("car"), ThrowsMessage<DataError>(HasSubstr("data.noun: byte 99999999")));
  folder_.write("index.noun", "car n 99999999999 1 @\n");
  EXPECT_THAT(synonyms_of("car"), ThrowsMessage<DataError>(HasSubstr("index.noun: car")));
  folder_.write("index.noun", "car n 2 0 2 0 00000054\n");
  EXPECT_THAT(synonyms_of("car"), ThrowsMessage<DataError>(HasSubstr("index.noun: car")));
}

TEST_F(SmallWordNet, NamesTheMissingFileAndTheRemedy) {
  std::filesystem::remove(folder_.path() / "data.verb");
  EXPECT_THAT(
      [&] { WordNet{folder_.path()}; },
      ThrowsMessage<DataError>(testing::AllOf(HasSubstr("data.verb"), HasSubstr("apt-get install wordnet-base"))));
}

TEST_F(SmallWordNet, SurvivesTruncationAndFlippedBytes) {
  for (size_t cut = 0; cut < data_noun_.size(); cut += 3) {
    folder_.write("data.noun", data_noun_.substr(0, cut) + (cut % 2 == 0 ? "" : "\xff 999 zz"));
    try {
      WordNet(folder_.path()).synonyms("car");
    } catch (const DataError&) {
    }
  }
}

TEST(WordNetFolder, IsTheNamedOneOrAnError) {
  const ScopedEnvironment folder("WNSEARCHDIR", "/no/such/folder");
  EXPECT_THAT([] { find_wordnet_folder(); }, ThrowsMessage<DataError>(HasSubstr("WNSEARCHDIR=/no/such/folder")));
  EXPECT_THAT([] { make_metric("meteor"); }, ThrowsMessage<DataError>(HasSubstr("apt-get install wordnet-base")));
}

TEST_F(SmallWordNet, IsFoundByTheEnvironment) {
  {
    const ScopedEnvironment search("WNSEARCHDIR", folder_.path().c_str());
    EXPECT_EQ(find_wordnet_folder(), folder_.path());
  }
  const ScopedEnvironment search("WNSEARCHDIR", nullptr);
  std::filesystem::create_directory_symlink(folder_.path(), folder_.path() / "dict");
  const ScopedEnvironment home("WNHOME", folder_.path().c_str());
  EXPECT_EQ(find_wordnet_folder(), folder_.path() / "dict");
}

}  // namespace
}  // namespace mpeft::metrics
