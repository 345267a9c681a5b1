#pragma once

#include <cmath>
#include <cstring>
#include <map>
#include <mutex>
#include <random>
#include <string>
#include <vector>

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "kernels/common/sequence.h"

#include "tests/cuda/device_array.h"

// defines: to_double, from_double, dtype_name, Tensor, relative_error, Report

namespace mpeft::cuda_check {

inline double to_double(float x) { return x; }
inline double to_double(__nv_bfloat16 x) { return __bfloat162float(x); }
inline double to_double(__half x) { return __half2float(x); }
inline void from_double(double x, float& out) { out = static_cast<float>(x); }
inline void from_double(double x, __nv_bfloat16& out) { out = __float2bfloat16_rn(static_cast<float>(x)); }
inline void from_double(double x, __half& out) { out = __float2half_rn(static_cast<float>(x)); }

template <typename scalar_t>
const char* dtype_name();
template <>
inline const char* dtype_name<float>() {
  return "fp32";
}
template <>
inline const char* dtype_name<__nv_bfloat16>() {
  return "bf16";
}
template <>
inline const char* dtype_name<__half>() {
  return "fp16";
}

/// (batch, seqlen, n) inside rows of `pitch` elements from column `offset`: the same values (rounded to scalar_t) on
/// the device and, in double, for the reference.
template <typename scalar_t>
class Tensor {
 public:
  Tensor(int64_t batch, int64_t seqlen, int64_t n, int64_t pitch = 0, int64_t offset = 0)
      : batch_(batch),
        seqlen_(seqlen),
        n_(n),
        pitch_(pitch > 0 ? pitch : n),
        offset_(offset),
        host_(static_cast<size_t>(batch * seqlen * pitch_ + offset), std::nan("")),
        device_(host_.size()) {}

  /// Draws low + (high - low) uniform, or normal when low == high == 0.
  void fill(std::mt19937& random, double low = 0, double high = 0) {
    std::normal_distribution<double> normal;
    std::uniform_real_distribution<double> uniform(low, high);
    for (double& x : host_) set_rounded(x, low == high ? normal(random) : uniform(random));
  }
  /// NaN from each row's length on: padding must not be read.
  void poison_padding(const std::vector<int32_t>& lengths) {
    for (int64_t b = 0; b < batch_ && !lengths.empty(); ++b) {
      for (int64_t t = lengths[static_cast<size_t>(b)]; t < seqlen_; ++t) {
        for (int64_t i = 0; i < n_; ++i) at(b, t, i) = std::nan("");
      }
    }
  }
  void upload() {
    std::vector<scalar_t> rounded(host_.size());
    for (size_t i = 0; i < host_.size(); ++i) from_double(host_[i], rounded[i]);
    MPEFT_CUDA_REQUIRE(
        cudaMemcpy(device_.data(), rounded.data(), rounded.size() * sizeof(scalar_t), cudaMemcpyHostToDevice));
  }
  double& at(int64_t b, int64_t t, int64_t i) {
    return host_[static_cast<size_t>(offset_ + (b * seqlen_ + t) * pitch_ + i)];
  }
  template <typename T = scalar_t>
  kernels::Sequence<T> device() const {
    return {device_.data() + offset_, batch_ > 1 ? seqlen_ * pitch_ : 0, pitch_};
  }
  template <typename T = double>
  kernels::Sequence<T> host() {
    return {host_.data() + offset_, batch_ > 1 ? seqlen_ * pitch_ : 0, pitch_};
  }
  scalar_t* device_data() const { return device_.data() + offset_; }
  double* host_data() { return host_.data() + offset_; }
  DeviceArray<scalar_t>& array() { return device_; }
  std::vector<double>& values() { return host_; }
  int64_t n() const { return n_; }
  int64_t pitch() const { return pitch_; }
  int64_t offset() const { return offset_; }

 private:
  static void set_rounded(double& to, double x) {
    scalar_t rounded;
    from_double(x, rounded);
    to = to_double(rounded);
  }

  int64_t batch_, seqlen_, n_, pitch_, offset_;
  std::vector<double> host_;
  DeviceArray<scalar_t> device_;
};

/// ||got - x|| / ||x|| over the used columns of x's values; got as it lies in x's array.
template <typename scalar_t, typename T>
double relative_error(Tensor<scalar_t>& x, const std::vector<T>& got) {
  const std::vector<double>& want = x.values();
  double difference = 0, norm = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const int64_t column = static_cast<int64_t>(i) - x.offset();
    if (column < 0 || column % x.pitch() >= x.n()) continue;
    const double d = static_cast<double>(got[i]) - want[i];
    difference += d * d;
    norm += want[i] * want[i];
  }
  return norm > 0 ? std::sqrt(difference / norm) : std::sqrt(difference);
}

/// Collects relative L2 errors, the worst of each (operator, dtype, tensor), and failures.
class Report {
 public:
  /// ||device - reference|| / ||reference|| over the n used columns; NaN or a touched gap between rows is a failure.
  template <typename scalar_t>
  void compare(const std::string& op, const std::string& name, Tensor<scalar_t>& tensor, double tolerance,
               const std::string& where) {
    const std::vector<scalar_t> got = tensor.array().download();
    const std::vector<double>& want = tensor.values();
    double difference = 0, norm = 0;
    bool poisoned_gap = true;
    for (size_t i = 0; i < got.size(); ++i) {
      const int64_t column = (static_cast<int64_t>(i) - tensor.offset()) % tensor.pitch();
      if (static_cast<int64_t>(i) < tensor.offset() || column >= tensor.n()) {
        poisoned_gap = poisoned_gap && std::isnan(to_double(got[i]));
        continue;
      }
      const double d = to_double(got[i]) - want[i];
      difference += d * d;
      norm += want[i] * want[i];
    }
    const double error = norm > 0 ? std::sqrt(difference / norm) : std::sqrt(difference);
    const std::lock_guard<std::mutex> lock(mutex_);
    double& worst = worst_[op + " " + dtype + "  " + name];
    if (!(error <= worst)) worst = error;
    ++comparisons_;
    if (!(error <= tolerance) || !poisoned_gap) {
      ++failures_;
      if (failures_ < 60) {
        std::printf("FAIL %s: %s relative error %.3e > %.1e%s\n", where.c_str(), name.c_str(), error, tolerance,
                    poisoned_gap ? "" : ", and wrote between rows");
      }
    }
  }
  void require(bool condition, const std::string& what) {
    const std::lock_guard<std::mutex> lock(mutex_);
    ++comparisons_;
    if (condition) return;
    ++failures_;
    if (failures_ < 60) std::printf("FAIL %s\n", what.c_str());
  }
  void print() const {
    for (const auto& [name, error] : worst_) std::printf("%-44s %.2e\n", name.c_str(), error);
    std::printf("%d comparisons, %d failures\n", comparisons_, failures_);
  }
  bool passed() const { return failures_ == 0 && comparisons_ > 0; }
  static thread_local const char* dtype;

 private:
  std::mutex mutex_;
  std::map<std::string, double> worst_;
  int comparisons_ = 0, failures_ = 0;
};

}  // namespace mpeft::cuda_check
