#pragma once

#include <gtest/gtest.h>

#include "support/temporary_folder.h"

namespace mpeft::data {

/// A test with a folder of its own.
class TemporaryFolderTest : public testing::Test {
 protected:
  void write(const std::string& name, const std::string& text) const { folder_.write(name, text); }

  test::TemporaryFolder folder_;
  std::filesystem::path root_ = folder_.path();
};

}  // namespace mpeft::data
