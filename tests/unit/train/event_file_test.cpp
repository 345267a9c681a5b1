#include "train/event_file.h"

#include <bit>
#include <cmath>
#include <cstring>

#include <gtest/gtest.h>

#include "mpeft/core/fs.h"
#include "mpeft/train/metrics_log.h"

#include "support/temporary_folder.h"

namespace mpeft::train {
namespace {

// Values of RFC 3720, B.4.
TEST(Crc32cTest, EqualsThePublishedExamples) {
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8A9136AAU);
  EXPECT_EQ(crc32c(std::string(32, '\xFF')), 0x62A8AB43U);
  EXPECT_EQ(crc32c("123456789"), 0xE3069283U);
  EXPECT_EQ(crc32c(""), 0U);
}

// The records of an event file, their checksums verified bit by bit.
std::vector<std::string> records(const std::string& bytes) {
  const auto number = [&](size_t at, size_t n) {
    uint64_t value = 0;
    for (size_t i = n; i-- > 0;) value = value << 8 | static_cast<unsigned char>(bytes.at(at + i));
    return value;
  };
  const auto expected_crc = [](std::string_view data) {
    uint32_t crc = ~0U;
    for (const char c : data) {
      for (int bit = 0; bit < 8; ++bit) {
        const bool low = ((crc ^ (static_cast<unsigned char>(c) >> bit)) & 1) != 0;
        crc = crc >> 1 ^ (low ? 0x82F63B78U : 0);
      }
    }
    crc = ~crc;
    return ((crc >> 15) | (crc << 17)) + 0xA282EAD8U;
  };
  std::vector<std::string> result;
  for (size_t at = 0; at < bytes.size();) {
    const size_t size = number(at, 8);
    EXPECT_EQ(number(at + 8, 4), expected_crc(std::string_view(bytes).substr(at, 8)));
    result.push_back(bytes.substr(at + 12, size));
    EXPECT_EQ(number(at + 12 + size, 4), expected_crc(result.back()));
    at += size + 16;
  }
  return result;
}

std::string float_bytes(float value) {
  std::string bytes(4, '\0');
  std::memcpy(bytes.data(), &value, 4);
  return bytes;
}

TEST(EventFileTest, WritesTheVersionAndEveryScalar) {
  const test::TemporaryFolder folder;
  {
    EventFile file(folder.path());
    file.scalars(300, 1.5, {{"train/loss", 0.25}});
    EXPECT_NE(file.path().filename().string().find("tfevents"), std::string::npos);
  }
  const auto names = fs::list_folder(folder.path());
  ASSERT_EQ(names.size(), 1U);
  const auto found = records(fs::read_file(folder / names[0]));
  ASSERT_EQ(found.size(), 2U);
  EXPECT_NE(found[0].find("brain.Event:2"), std::string::npos);
  // wall_time 1.5, step 300, summary {value {tag "train/loss", simple_value 0.25}}: written out by hand.
  std::string expected("\x09\x00\x00\x00\x00\x00\x00\xF8\x3F", 9);
  expected.append("\x10\xAC\x02\x2A\x13\x0A\x11\x0A\x0A").append("train/loss\x15").append(float_bytes(0.25F));
  EXPECT_EQ(found[1], expected);
}

TEST(EventFileTest, IsWrittenAnewFromTheMetricsOfAResumedRun) {
  const test::TemporaryFolder folder;
  {
    MetricsLog log(folder / "metrics.jsonl", 0);
    log.train({.epoch = 1, .step = 10, .loss = 2.0});
    log.eval(1, 10, {{"bleu", 0.5}}, 1.0);
    log.train({.epoch = 2, .step = 20, .loss = std::nan("")});
  }
  MetricsLog log(folder / "metrics.jsonl", 10);  // resumed from step 10
  log.train({.epoch = 2, .step = 20, .loss = 1.0});
  std::vector<std::string> files;
  for (const auto& name : fs::list_folder(folder.path())) {
    if (name.starts_with("events.")) files.push_back(name);
  }
  ASSERT_EQ(files.size(), 1U);
  const auto found = records(fs::read_file(folder / files[0]));
  ASSERT_EQ(found.size(), 4U);  // version, two kept, one new
  EXPECT_NE(found[1].find("train/loss\x15" + float_bytes(2.0F)), std::string::npos);
  EXPECT_NE(found[2].find("eval/bleu\x15" + float_bytes(0.5F)), std::string::npos);
  EXPECT_NE(found[3].find("train/loss\x15" + float_bytes(1.0F)), std::string::npos);
}

}  // namespace
}  // namespace mpeft::train
