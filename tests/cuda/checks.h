#pragma once

#include <algorithm>
#include <set>
#include <vector>

#include "kernels/selective_scan/selective_scan_params.h"

#include "tests/cuda/comparison.h"

// defines: Op, DType, ScanCase, ScanJob, ConvCase, NormCase, CrossEntropyCase, DecodeCase, packed_starts, channels_for,
// is_roles_device, scan_cut_cases, check_scan_roles_are_there, check_scan, check_scan_repeats, check_scan_math,
// check_scan_far_apart, conv_cases, check_conv, check_norm, time_all

namespace mpeft::cuda_check {

enum class Op { kScan, kConv, kNorm, kLoss, kDecode };
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
  bool compact = false;             ///< states kept every 32 steps
  bool compact_with_y = false;      ///< and y, where it can be kept
  unsigned terms = 0;               ///< bits: state_offset out_offset B_scale B_bias C_scale C_bias
  int packed = 0;                   ///< rows packed into a batch of 1, some empty or of one step
  unsigned wanted = kAllGradients;  ///< bits: du ddelta dz dB dC dA dD ddelta_bias dinitial_state, then those of terms
  int cut_rows = 0;                 ///< of so many rows the backward is to cut the time; 0: of any number
  bool joined_rests = false;        ///< it is to cut some blocks of channels more often than others
  /// bfloat16 of 16 states without terms: by which main pass the backward; kFaster: by both.
  kernels::ScanBwdKernel bwd_kernel = kernels::ScanBwdKernel::kFaster;
  int roles_shape = -1;  ///< bfloat16: this one of the forward's shapes (roles_choices); -1: what it chooses
  static constexpr unsigned kAllGradients = (1u << 15) - 1;
};
struct ScanJob {
  ScanCase c;
  DType dtype;
};
struct ConvCase {
  int64_t batch = 2, seqlen = 37, d_inner = 24, width = 4;
  bool silu = true, bias = true;
  int initial_state = 0;
  bool lengths = false, strided = false, misaligned = false, sums = true;
  int packed = 0;
  int repeats = 1;  ///< bitwise; more than 1: replays of a graph too
  /// Whether the backward is one launch, which leaves the workspace alone (of code for sm_90 and later), or more. Only
  /// seen where there are sums, which alone need a workspace.
  enum Launches { kAny, kOne, kSeveral } launches = kAny;
};
struct NormCase {
  int64_t rows = 5, d_model = 768;
  bool residual = true, dresidual_out = true, misaligned = false;
  bool dx = true, dresidual = true, dweight = true;  ///< wanted
  int repeats = 1;                                   ///< of the backward, bitwise; more than 1: replays of a graph too
};

/// Where `rows` packed rows of at most `seqlen` steps start and, last, end: odd lengths, some 0 or 1, a tail left over.
inline std::vector<int32_t> packed_starts(int rows, int64_t seqlen) {
  std::vector<int32_t> starts{0};
  for (int row = 0; row < rows; ++row) {
    const int64_t left = seqlen - starts.back();
    const int64_t length = row % 4 == 1 ? 1 : row % 5 == 3 ? 0 : row + 1 == rows ? left - left / 9 : (left * 3 / 7);
    starts.push_back(static_cast<int32_t>(starts.back() + std::min(length, left)));
  }
  return starts;
}

/// Of each of `rows` rows so many channels, a multiple of 8, that a multiprocessor gets some `load` of them: by that
/// the forward chooses its shape (roles_choices in fwd_launch.cuh), and the backward how it cuts time.
int64_t channels_for(int64_t load, int64_t rows);
/// Whether the program should have code for the scan's backward by roles on this device: where sm_90a runs.
bool is_roles_device();
/// Of the backward where it cuts time.
std::vector<ScanJob> scan_cut_cases();

/// On such a device it has, and the backward by roles takes what it should.
void check_scan_roles_are_there(Report& report);
void check_scan(const ScanCase& c, DType dtype, Report& report);
/// 100 repeats, and replays of a captured graph, bitwise.
void check_scan_repeats(const ScanCase& c, DType dtype, Report& report);
/// The exponentials that the recurrence is made of.
void check_scan_math(Report& report);
/// Rows more than 2^31 elements apart (needs 5 GB).
void check_scan_far_apart(Report& report);
/// Every option and shape class of the convolution.
std::vector<ConvCase> conv_cases();
void check_conv(const ConvCase& c, DType dtype, Report& report);
void check_norm(const NormCase& c, DType dtype, Report& report);

struct CrossEntropyCase {
  int64_t rows = 5, columns = 61, n_valid = 0;
  int64_t gap = 0;     ///< elements between rows
  int64_t offset = 0;  ///< elements before the first
};
struct DecodeCase {
  int64_t rows = 5, d_model = 64, d_inner = 128, d_state = 16, dt_rank = 8, width = 4;
  bool parents = true, bias = true;
};

void check_cross_entropy(const CrossEntropyCase& c, DType dtype, Report& report);
void check_decode(const DecodeCase& c, DType dtype, Report& report);  ///< bf16 and fp16

/// The grid, or a few cases for compute-sanitizer.
std::vector<CrossEntropyCase> cross_entropy_cases(bool all);
std::vector<DecodeCase> decode_cases(bool all);

void time_cross_entropy();
void time_decode();

/// Prints times of the shapes a model has, beside those of the published kernels where known.
void time_all(const std::set<Op>& ops);

}  // namespace mpeft::cuda_check
