#include "mpeft/core/fs.h"

#include <filesystem>
#include <fstream>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "mpeft/core/error.h"
#include "mpeft/core/strings.h"

namespace mpeft::fs {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class FsTest : public testing::Test {
 protected:
  void SetUp() override {
    root_ = std::filesystem::temp_directory_path() / str("mpeft-fs-", ::getpid());
    std::filesystem::create_directories(root_);
  }
  void TearDown() override { std::filesystem::remove_all(root_); }
  Path root_;
};

TEST_F(FsTest, AFileIsWrittenInFoldersThatAreMadeAndLeavesNothingBeside) {
  write_file_atomic(root_ / "a/b.txt", "one");
  write_file_atomic(root_ / "a/b.txt", std::string("two\0x", 5));
  EXPECT_EQ(read_file(root_ / "a/b.txt"), std::string("two\0x", 5));
  EXPECT_THAT(list_folder(root_ / "a"), ElementsAre("b.txt"));
}

TEST_F(FsTest, AWriterThatThrowsLeavesTheOldFile) {
  write_file_atomic(root_ / "x", "old");
  EXPECT_THROW(write_file_atomic(root_ / "x", [](int) { throw DataError("stop"); }), DataError);
  EXPECT_EQ(read_file(root_ / "x"), "old");
  EXPECT_THAT(list_folder(root_), ElementsAre("x"));
}

TEST_F(FsTest, AFolderIsReplacedAsAWholeOrNotAtAll) {
  write_folder_atomic(root_ / "f", [](const Path& folder) { write_file_atomic(folder / "one", "1"); });
  write_folder_atomic(root_ / "f", [](const Path& folder) { write_file_atomic(folder / "two", "2"); });
  EXPECT_THAT(list_folder(root_ / "f"), ElementsAre("two"));
  EXPECT_THROW(write_folder_atomic(root_ / "f", [](const Path&) { throw DataError("stop"); }), DataError);
  EXPECT_THAT(list_folder(root_ / "f"), ElementsAre("two"));
  EXPECT_THAT(list_folder(root_), ElementsAre("f"));
}

TEST_F(FsTest, WhatCannotBeReadIsNamedWithTheReason) {
  const auto error_of = [](const Path& path, uint64_t limit) -> std::string {
    try {
      read_file(path, limit);
    } catch (const DataError& e) {
      return e.what();
    }
    return "";
  };
  EXPECT_THAT(error_of(root_ / "none", 10), HasSubstr("none: cannot be opened: No such file"));
  EXPECT_THAT(error_of(root_, 10), HasSubstr("not a regular file"));
  write_file_atomic(root_ / "big", std::string(11, 'x'));
  EXPECT_THAT(error_of(root_ / "big", 10), HasSubstr("11 B is larger than the limit of 10 B"));
  EXPECT_EQ(error_of(root_ / "big", 11), "");
}

TEST_F(FsTest, AMapShowsTheBytesAndAnEmptyFileIsEmpty) {
  write_file_atomic(root_ / "x", "abc");
  write_file_atomic(root_ / "empty", "");
  MappedFile file(root_ / "x");
  const MappedFile moved(std::move(file));
  EXPECT_EQ(moved.view(), "abc");
  EXPECT_EQ(MappedFile(root_ / "empty").size(), 0U);
  EXPECT_THROW(MappedFile(root_ / "none"), DataError);
}

TEST_F(FsTest, Sha256IsThatOfTheStandard) {
  // FIPS 180-2, appendix B.1.
  const std::string abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
  EXPECT_EQ(sha256("abc"), abc);
  write_file_atomic(root_ / "x", "abc");
  EXPECT_EQ(sha256_file(root_ / "x"), abc);
}

TEST_F(FsTest, AnAbsentFolderHasNoEntries) { EXPECT_TRUE(list_folder(root_ / "none").empty()); }

}  // namespace
}  // namespace mpeft::fs
