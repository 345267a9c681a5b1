#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>

// defines: AlignedBuffer

namespace mpeft::kernels {

/// n floats on a cache line boundary, not initialised.
class AlignedBuffer {
 public:
  explicit AlignedBuffer(int64_t n)
      : data_(static_cast<float*>(::operator new(static_cast<size_t>(n > 0 ? n : 1) * sizeof(float), kAlignment))) {}
  float* data() const { return data_.get(); }

 private:
  static constexpr std::align_val_t kAlignment{64};
  struct Free {
    void operator()(float* p) const { ::operator delete(p, kAlignment); }
  };
  std::unique_ptr<float, Free> data_;
};

}  // namespace mpeft::kernels
