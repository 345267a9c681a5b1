#include "kernels/glue/parallel.h"

#include <cstdint>
#include <mutex>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

namespace mpeft::ops {
namespace {

class Parallel : public ::testing::Test {
 protected:
  void SetUp() override { at::set_num_threads(2); }
  void TearDown() override { at::set_num_threads(before_); }

 private:
  int before_ = at::get_num_threads();
};

// A build whose OpenMP is off gives right results on one thread and never says so.
TEST_F(Parallel, TwoThreadsShareTheWork) {
  std::mutex mutex;
  std::set<std::thread::id> threads;
  std::vector<int> visits(7);
  at_parallel_for(7, [&](int64_t begin, int64_t end) {
    const std::scoped_lock lock(mutex);
    threads.insert(std::this_thread::get_id());
    for (int64_t i = begin; i < end; ++i) ++visits[static_cast<size_t>(i)];
  });
  EXPECT_EQ(visits, std::vector<int>(7, 1));
  EXPECT_EQ(threads.size(), 2u);
}

TEST_F(Parallel, NothingToDoCallsNobody) {
  at_parallel_for(0, [](int64_t, int64_t) { FAIL(); });
}

TEST_F(Parallel, AnExceptionReachesTheCaller) {
  const auto body = [](int64_t begin, int64_t) {
    if (begin > 0) throw std::runtime_error("second half");
  };
  EXPECT_THROW(at_parallel_for(2, body), std::runtime_error);
}

}  // namespace
}  // namespace mpeft::ops
