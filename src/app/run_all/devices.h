#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace mpeft::app {

/// The GPUs that a program started from here sees, as the driver counts them (after CUDA_VISIBLE_DEVICES); 0 without a
/// driver, or where it does not answer; none where it could not be asked. It is asked in a process of its own, so that
/// nothing of it stays in this one: a fork, to be called before there are threads.
std::optional<int64_t> count_gpus();

/// Whether the `train` of this build can use a GPU. (ops::built_with_cuda says it to those who link LibTorch.)
bool built_with_cuda();

/// `devices` as --device names them; none is "auto". Throws ConfigError for what is neither the number of a GPU, nor
/// cpu.
void check_device_names(std::vector<std::string>& devices);

/// Throws ConfigError naming the GPUs among `devices` that are not there, or cannot be used by this build. `count` is
/// asked only where `devices` names a GPU; what it does not know is not refused.
void require_devices(const std::vector<std::string>& devices, bool with_cuda, std::optional<int64_t> (*count)());

/// Whether an experiment on the device auto runs on the processor. `count` is asked only of a build with CUDA.
bool auto_is_processor(bool with_cuda, std::optional<int64_t> (*count)());

/// "NAME=value" of the environment for one of `n_workers` experiments at once on the processor's `n_cores`: OpenMP
/// reads it when it is loaded. What `is_set` says the user has set stays. Threads of a barrier do not spin long where
/// cores are few (src/app/README.md has what that costs and brings).
std::vector<std::string> processor_environment(unsigned n_cores, unsigned n_workers,
                                               const std::function<bool(const char* name)>& is_set);

}  // namespace mpeft::app
