#pragma once

#include <filesystem>
#include <string>
#include <unistd.h>

#include <gtest/gtest.h>

#include "mpeft/core/fs.h"
#include "mpeft/core/strings.h"

namespace mpeft::data {

/// A folder of its own for each test, removed at the end.
class TemporaryFolderTest : public testing::Test {
 protected:
  void SetUp() override {
    const auto* info = testing::UnitTest::GetInstance()->current_test_info();
    root_ = std::filesystem::temp_directory_path() /
            str("mpeft-", info->test_suite_name(), "-", info->name(), "-", ::getpid());
    std::filesystem::create_directories(root_);
  }
  void TearDown() override { std::filesystem::remove_all(root_); }
  void write(const std::string& name, const std::string& text) const { fs::write_file_atomic(root_ / name, text); }

  std::filesystem::path root_;
};

}  // namespace mpeft::data
