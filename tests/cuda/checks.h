#pragma once

#include "tests/cuda/comparison.h"

// defines: DType, ScanCase, ConvCase, NormCase, check_scan, check_conv, check_norm, time_all

namespace mpeft::cuda_check {

enum class DType { kBFloat16, kFloat16, kFloat32 };
inline const char* name_of(DType dtype) {
  return dtype == DType::kBFloat16 ? "bf16" : dtype == DType::kFloat16 ? "fp16" : "fp32";
}

struct ScanCase {
  int64_t batch = 2, seqlen = 37, d_inner = 24, d_state = 16;
  int64_t rank = 8;  ///< columns before B in a row of x_dbl
  bool z = true, D = true, delta_bias = true, softplus = true;
  int initial_state = 0;  ///< 1: shared, 2: per row
  bool lengths = false, last_state = true, dlast_state = false;
  bool strided = false, misaligned = false, extreme = false;
  unsigned wanted = 511;  ///< bits: du ddelta dz dB dC dA dD ddelta_bias dinitial_state
};
struct ConvCase {
  int64_t batch = 2, seqlen = 37, d_inner = 24, width = 4;
  bool silu = true, bias = true;
  int initial_state = 0;
  bool lengths = false, strided = false, misaligned = false, sums = true;
};
struct NormCase {
  int64_t rows = 5, d_model = 768;
  bool residual = true, dresidual_out = true, dweight = true, misaligned = false;
};

void check_scan(const ScanCase& c, DType dtype, Report& report);
void check_conv(const ConvCase& c, DType dtype, Report& report);
void check_norm(const NormCase& c, DType dtype, Report& report);

/// Prints times of the shapes a model has, beside those of the published kernels where known.
void time_all();

}  // namespace mpeft::cuda_check
