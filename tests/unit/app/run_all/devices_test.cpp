#include "app/run_all/devices.h"

#include <csignal>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "mpeft/core/error.h"

namespace mpeft::app {
namespace {

using testing::ElementsAre;

std::string refusal(const std::vector<std::string>& devices, bool with_cuda, std::optional<int64_t> (*count)()) {
  try {
    require_devices(devices, with_cuda, count);
  } catch (const ConfigError& e) {
    return e.what();
  }
  return "";
}

std::optional<int64_t> never() {
  ADD_FAILURE() << "the driver is asked for nothing";
  return 0;
}

TEST(DevicesTest, NamesAreNumbersOfGpusOrTheProcessor) {
  std::vector<std::string> none, some = {"0", "cpu", "auto", "12"};
  check_device_names(none);
  EXPECT_THAT(none, ElementsAre("auto"));
  EXPECT_NO_THROW(check_device_names(some));
  for (const char* bad : {"", "gpu", "-1", "1x", "1000", "cuda:0"}) {
    std::vector<std::string> devices = {"0", bad};
    EXPECT_THROW(check_device_names(devices), ConfigError) << bad;
  }
}

TEST(DevicesTest, EveryGpuThatIsNotThereIsNamedOnce) {
  const auto none = []() -> std::optional<int64_t> { return 0; };
  const auto one = []() -> std::optional<int64_t> { return 1; };
  const auto four = []() -> std::optional<int64_t> { return 4; };
  const auto unknown = []() -> std::optional<int64_t> { return std::nullopt; };
  EXPECT_EQ(refusal({"0", "3", "3", "cpu"}, true, four), "");
  EXPECT_EQ(refusal({"0", "7", "4", "7"}, true, four),
            "--device 7 4: there are 4 GPUs, 0 to 3; --device cpu runs on the processor");
  EXPECT_EQ(refusal({"1"}, true, one), "--device 1: there is one GPU, 0; --device cpu runs on the processor");
  EXPECT_EQ(refusal({"0"}, true, none),
            "--device 0: no GPU is usable here (nvidia-smi shows what the driver sees); --device cpu runs on the "
            "processor");
  EXPECT_EQ(refusal({"0", "1"}, false, never),
            "--device 0 1: this build has no CUDA kernels; build with scripts/build.sh cuda, or use --device cpu");
  EXPECT_EQ(refusal({"9"}, true, unknown), "");
  EXPECT_EQ(refusal({"cpu", "auto"}, true, never), "");
  EXPECT_EQ(refusal({"cpu", "auto"}, false, never), "");
}

TEST(DevicesTest, ThreadsAreSharedAndSpinBrieflyWhereCoresAreFew) {
  const auto nothing = [](const char*) { return false; };
  EXPECT_THAT(processor_environment(2, 1, nothing), ElementsAre("GOMP_SPINCOUNT=1000"));
  EXPECT_THAT(processor_environment(4, 2, nothing), ElementsAre("OMP_NUM_THREADS=2", "GOMP_SPINCOUNT=1000"));
  EXPECT_THAT(processor_environment(2, 5, nothing), ElementsAre("OMP_NUM_THREADS=1", "GOMP_SPINCOUNT=1000"));
  EXPECT_THAT(processor_environment(16, 1, nothing), ElementsAre());
  EXPECT_THAT(processor_environment(16, 2, nothing), ElementsAre("OMP_NUM_THREADS=8"));
  for (const std::string set : {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"})
    EXPECT_THAT(processor_environment(2, 2, [&](const char* name) { return name == set; }),
                ElementsAre("OMP_NUM_THREADS=1"));
  EXPECT_THAT(processor_environment(2, 2, [](const char*) { return true; }), ElementsAre());
}

TEST(DevicesTest, TheDriverIsAskedInAnotherProcess) {
  const auto n = count_gpus();
  EXPECT_GE(n, 0);
  EXPECT_EQ(count_gpus(), n);
}

TEST(DevicesTest, WithoutAStatusOfThatProcessTheNumberIsNotKnown) {
  const auto before = std::signal(SIGCHLD, SIG_IGN);  // as some parents leave it
  EXPECT_EQ(count_gpus(), std::nullopt);
  std::signal(SIGCHLD, before);
}

TEST(DevicesTest, AutoIsTheProcessorWhereThereIsNoGpu) {
  EXPECT_TRUE(auto_is_processor(false, never));
  EXPECT_TRUE(auto_is_processor(true, []() -> std::optional<int64_t> { return 0; }));
  EXPECT_FALSE(auto_is_processor(true, []() -> std::optional<int64_t> { return 1; }));
  EXPECT_FALSE(auto_is_processor(true, []() -> std::optional<int64_t> { return std::nullopt; }));
}

}  // namespace
}  // namespace mpeft::app
