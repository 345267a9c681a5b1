#pragma once

#include <cstdint>
#include <string>

#include <c10/core/Device.h>

namespace mpeft::train {

/// "cpu", "0", "cuda:1", or "" for the first GPU if there is one and else the CPU. Throws ConfigError when there is no
/// such device or this build has no CUDA kernels, saying what to do.
at::Device resolve_device(const std::string& name);

/// For people: "CPU, 16 threads, avx512" or "cuda:0".
std::string describe_device(at::Device device);

/// Highest memory use so far: of the device's allocator, or of this process on the CPU.
uint64_t peak_memory_bytes(at::Device device);

/// Waits until the device has done what it was given.
void synchronize(at::Device device);

/// Seeds the default generators of the CPU and the device.
void seed_generators(at::Device device, uint64_t seed);

}  // namespace mpeft::train
