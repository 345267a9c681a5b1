#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "mpeft/checkpoint/tensor_map.h"
#include "mpeft/core/error.h"
#include "mpeft/core/fs.h"
#include "mpeft/core/strings.h"

#include "support/temporary_folder.h"

namespace mpeft::checkpoint {

using test::TemporaryFolder;

inline std::filesystem::path golden(const std::string& name) {
  return std::filesystem::path(MPEFT_TEST_GOLDEN_DIR) / "checkpoint" / name;
}

/// What the CheckpointError thrown by `action` says, every `folder` in it replaced by "<dir>".
template <typename Action>
std::string error_of(const std::filesystem::path& folder, const Action& action) {
  try {
    action();
  } catch (const CheckpointError& e) {
    std::string text = e.what();
    for (size_t at; !folder.empty() && (at = text.find(folder.string())) != std::string::npos;) {
      text.replace(at, folder.string().size(), "<dir>");
    }
    return text;
  } catch (const std::exception& e) {
    return std::string("another exception: ") + e.what();
  }
  return "no error";
}

/// The bytes of a tensor in row-major order.
inline std::string bytes_in_order(const at::Tensor& tensor) {
  const at::Tensor data = tensor.detach().cpu().contiguous();
  return {static_cast<const char*>(data.const_data_ptr()), data.nbytes()};
}

/// Names, dtypes, shapes and every bit.
inline void expect_same_tensors(const TensorMap& actual, const TensorMap& expected) {
  for (const auto& [name, tensor] : expected) {
    ASSERT_EQ(actual.count(name), 1u) << name << " is missing";
    const at::Tensor& found = actual.at(name);
    EXPECT_EQ(found.scalar_type(), tensor.scalar_type()) << name;
    EXPECT_EQ(found.sizes(), tensor.sizes()) << name;
    EXPECT_EQ(bytes_in_order(found), bytes_in_order(tensor)) << name;
  }
  EXPECT_EQ(actual.size(), expected.size());
}

}  // namespace mpeft::checkpoint
