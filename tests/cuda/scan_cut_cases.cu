// Cases of the selective scan's backward that hang on how many blocks of channels this device holds: how their time is
// cut (kernels/selective_scan/bwd_cut.h).
#include "kernels/common/cuda_launch.cuh"
#include "kernels/selective_scan/selective_scan_launch.h"

#include "tests/cuda/checks.h"

namespace mpeft::cuda_check {

int64_t channels_for(int64_t load, int64_t rows) { return load * kernels::multiprocessors() / rows / 8 * 8; }

namespace {

using DTypes = std::initializer_list<DType>;

void add(std::vector<ScanJob>& jobs, const ScanCase& c, DTypes dtypes) {
  for (const DType dtype : dtypes) jobs.push_back({c, dtype});
}

/// A few more blocks of channels than this device holds together: of the last row some are cut in time, of the others
/// none. Rows of one length, and packed with some of 0, 1 and few steps. At last so many more that three rows are cut,
/// the first of them in part.
void add_little_more_than_fits(std::vector<ScanJob>& jobs) {
  const auto add_rows = [&](int64_t d_state, int64_t load, DTypes dtypes) {  // channels a multiprocessor
    ScanCase c;
    c.d_state = d_state, c.batch = 3, c.seqlen = 130, c.d_inner = channels_for(load, 3), c.initial_state = 2;
    c.dlast_state = true;
    add(jobs, c, dtypes);
    c.batch = 1, c.packed = 5, c.seqlen = 390, c.d_inner = channels_for(load, 5);
    add(jobs, c, dtypes);
  };
  // two blocks a multiprocessor, of 64, 32 or 16 channels
  add_rows(16, 136, {DType::kBFloat16, DType::kFloat16});
  add_rows(16, 68, {DType::kFloat32});
  add_rows(8, 136, {DType::kBFloat16});
  add_rows(32, 68, {DType::kBFloat16});
  add_rows(64, 34, {DType::kBFloat16});
  for (const auto kernel : {kernels::ScanBwdKernel::kTiles, kernels::ScanBwdKernel::kRoles}) {
    ScanCase rows_cut;
    rows_cut.batch = 9, rows_cut.seqlen = 310, rows_cut.initial_state = 1, rows_cut.bwd_kernel = kernel;
    rows_cut.d_inner = channels_for(kernel == kernels::ScanBwdKernel::kTiles ? 164 : 160, 9);
    rows_cut.lengths = true, rows_cut.dlast_state = true;
    rows_cut.cut_rows = 3;  // of the rows that are cut: 264, 308 and 41 steps
    add(jobs, rows_cut, {DType::kBFloat16});
    rows_cut.batch = 1, rows_cut.lengths = false, rows_cut.packed = 9, rows_cut.seqlen = 1400;
    add(jobs, rows_cut, {DType::kBFloat16});
  }
}

/// Rows whose rest is one chunk in most blocks of channels and several in the last ones, of which a row has both kinds:
/// behind one long chunk and behind two, rows of different length, packed, with compact states, blocks of 128, 64 and
/// 32 channels, with terms.
void add_joined_rests(std::vector<ScanJob>& jobs) {
  using Kernel = kernels::ScanBwdKernel;
  const auto add_rows = [&](int64_t rows, int64_t load, DTypes dtypes, Kernel kernel, unsigned terms) {
    ScanCase c;
    c.bwd_kernel = kernel;
    c.batch = rows, c.seqlen = 330, c.d_inner = channels_for(load, rows), c.initial_state = 1, c.dlast_state = true;
    c.joined_rests = true, c.terms = terms;
    add(jobs, c, dtypes);
    c.lengths = true;
    add(jobs, c, dtypes);
    c.compact = true;
    add(jobs, c, dtypes);
    c.batch = 1, c.lengths = false, c.packed = static_cast<int>(rows), c.seqlen = 900;
    add(jobs, c, dtypes);
  };
  // loads at which the cuts of devices of 60 to 188 multiprocessors have joined rests, for the roles of 114 and 132
  add_rows(3, 72, {DType::kBFloat16, DType::kFloat16}, Kernel::kTiles, 0);
  add_rows(5, 66, {DType::kBFloat16}, Kernel::kTiles, 0);
  add_rows(7, 194, {DType::kBFloat16}, Kernel::kRoles, 0);
  add_rows(3, 43, {DType::kBFloat16}, Kernel::kRoles, 0);
  add_rows(3, 36, {DType::kFloat32}, Kernel::kTiles, 0);
  add_rows(3, 36, {DType::kBFloat16}, Kernel::kTiles, 63);
}

}  // namespace

bool is_roles_device() { return kernels::device_attribute(cudaDevAttrComputeCapabilityMajor) == 9; }

void check_scan_roles_are_there(Report& report) {
  if (!is_roles_device()) return;
  using scalar_t = __nv_bfloat16;
  Report::dtype = "bf16";
  kernels::SelectiveScanBwdParams<scalar_t> p;
  p.batch = 1, p.seqlen = 1024, p.d_inner = 136, p.d_state = 16, p.kernel = kernels::ScanBwdKernel::kRoles;
  report.require(kernels::selective_scan_bwd_takes_roles(p), "scan: no backward by roles: was it compiled for sm_90a?");
  // with a gate they want y, from the forward or from the expansion of compact states
  const DeviceArray<scalar_t> gate(static_cast<size_t>(p.seqlen * p.d_inner)), y(gate.size());
  p.z = {gate.data(), 0, p.d_inner};
  p.checkpoint_every = kernels::kSelectiveScanCheckpointEvery;
  report.require(!kernels::selective_scan_bwd_takes_roles(p), "scan: a gate without y by roles");
  p.checkpoint_every = kernels::kSelectiveScanCompactEvery;
  report.require(kernels::selective_scan_bwd_takes_roles(p), "scan: compact states with a gate not by roles");
  p.checkpoint_every = kernels::kSelectiveScanCheckpointEvery, p.y = y.data();
  report.require(kernels::selective_scan_bwd_takes_roles(p), "scan: y from the forward not by roles");
  // another kernel takes these, whatever is asked for
  p.d_state = 32;
  report.require(!kernels::selective_scan_bwd_takes_roles(p), "scan: 32 states by roles");
  p.d_state = 16, p.d_inner = 132;
  report.require(!kernels::selective_scan_bwd_takes_roles(p), "scan: rows that are not aligned by roles");
}

std::vector<ScanJob> scan_cut_cases() {
  std::vector<ScanJob> jobs;
  add_little_more_than_fits(jobs);
  add_joined_rests(jobs);
  return jobs;
}

}  // namespace mpeft::cuda_check
