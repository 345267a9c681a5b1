#pragma once

#include <cstdint>

#include <cuda_bf16.h>
#include <cuda_fp16.h>

// defines: multiply_add
//
// The tensor cores' m16n8k16, sums in float: a is 16 features x 16, b 8 rows x 16. Lane 4 g + q has features g (a0, a2)
// and g + 8 (a1, a3), row g (b0, b1), and the sums of features g (sum[0], sum[1]) and g + 8 with rows 2 q and 2 q + 1.
// A dot product does not care about the order of its terms, so each lane may take any 4 elements of a row, the same of
// features and rows: neighbours, loaded together.

namespace mpeft::kernels {

__device__ __forceinline__ void multiply_add(float (&sum)[4], __nv_bfloat16, uint32_t a0, uint32_t a1, uint32_t a2,
                                             uint32_t a3, uint32_t b0, uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}
__device__ __forceinline__ void multiply_add(float (&sum)[4], __half, uint32_t a0, uint32_t a1, uint32_t a2,
                                             uint32_t a3, uint32_t b0, uint32_t b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
               : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

/// Eight neighbouring elements of a lane's two features and of its row.
template <typename scalar_t>
__device__ __forceinline__ void multiply_add(float (&sum)[4], scalar_t type, const uint4& low, const uint4& high,
                                             const uint4& row) {
  multiply_add(sum, type, low.x, high.x, low.y, high.y, row.x, row.y);
  multiply_add(sum, type, low.z, high.z, low.w, high.w, row.z, row.w);
}

}  // namespace mpeft::kernels
