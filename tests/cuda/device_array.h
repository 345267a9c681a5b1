#pragma once

#include <cstdio>
#include <cstdlib>
#include <utility>
#include <vector>

#include <cuda_runtime.h>

// defines: MPEFT_CUDA_REQUIRE, DeviceArray

/// Ends the program with file, line and CUDA's reason.
#define MPEFT_CUDA_REQUIRE(call)                                                                      \
  do {                                                                                                \
    const cudaError_t error_ = (call);                                                                \
    if (error_ != cudaSuccess) {                                                                      \
      std::fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #call, cudaGetErrorString(error_)); \
      std::exit(1);                                                                                   \
    }                                                                                                 \
  } while (0)

/// An array in device memory, poisoned (all bits set: NaN in every floating type) until it is written.
template <typename T>
class DeviceArray {
 public:
  explicit DeviceArray(size_t size) : size_(size) {
    MPEFT_CUDA_REQUIRE(cudaMalloc(&data_, (size > 0 ? size : 1) * sizeof(T)));
    poison();
  }
  explicit DeviceArray(const std::vector<T>& values) : DeviceArray(values.size()) {
    MPEFT_CUDA_REQUIRE(cudaMemcpy(data_, values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice));
  }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;
  DeviceArray(DeviceArray&& other) noexcept : data_(other.data_), size_(other.size_) { other.data_ = nullptr; }
  DeviceArray& operator=(DeviceArray&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~DeviceArray() { cudaFree(data_); }

  void poison() { MPEFT_CUDA_REQUIRE(cudaMemset(data_, 0xff, size_ * sizeof(T))); }
  T* data() const { return data_; }
  size_t size() const { return size_; }
  std::vector<T> download() const {
    std::vector<T> values(size_);
    MPEFT_CUDA_REQUIRE(cudaMemcpy(values.data(), data_, size_ * sizeof(T), cudaMemcpyDeviceToHost));
    return values;
  }

 private:
  T* data_ = nullptr;
  size_t size_ = 0;
};
