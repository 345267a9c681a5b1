#include "mpeft/core/process_memory.h"

#include <cstdlib>
#include <cstring>
#include <sys/resource.h>
#include <vector>

#include <gtest/gtest.h>

namespace mpeft {
namespace {

/// Page faults of a pass over tensors such as a training step makes: 20 of 8 MiB, all alive before the first is freed.
long faults_of_a_step() {
  constexpr size_t kBytes = 8 << 20;
  rusage before{}, after{};
  getrusage(RUSAGE_SELF, &before);
  std::vector<void*> tensors;
  for (int i = 0; i < 20; ++i) {
    tensors.push_back(std::malloc(kBytes));
    std::memset(tensors.back(), i, kBytes);
  }
  for (void* const tensor : tensors) std::free(tensor);
  getrusage(RUSAGE_SELF, &after);
  return after.ru_minflt - before.ru_minflt;
}

TEST(ProcessMemoryTest, AStepReusesThePagesOfTheStepBefore) {
#if !defined(__GLIBC__) || defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "another allocator than glibc's";
#endif
  keep_freed_memory();
  faults_of_a_step();
  EXPECT_LT(faults_of_a_step(), 100);  // of 40,960 pages
}

}  // namespace
}  // namespace mpeft
