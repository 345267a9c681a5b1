// Bare test of the CUDA kernels, without LibTorch: every output and gradient against the fp64 references at odd shapes,
// each twice (the second run must be bitwise the first), then times.
// Usage: kernel_check [only=OP,...] [check] [grid] [repeats] [small] [smallest] [roles] [time]
//   only: of scan, conv, norm, loss, decode; holds for what follows it
//   check: every option and shape class; grid: the grids of the published kernels' tests and more; repeats: 100
//   repeats, graph replay, rows far apart; small, smallest (bf16): a few cases, roles: of the backward by roles alone,
//   for compute-sanitizer; time: medians at the shapes of models.
#include <atomic>
#include <functional>
#include <set>
#include <string>
#include <thread>
#include <utility>

#include "kernels/common/cuda_launch.cuh"
#include "kernels/selective_scan/selective_scan_launch.h"

#include "tests/cuda/checks.h"

namespace mpeft::cuda_check {

thread_local const char* Report::dtype = "";

namespace {

struct Job {
  Op op;
  std::function<void(Report&)> check;
};

void add(std::vector<Job>& jobs, const ScanCase& c, std::initializer_list<DType> dtypes) {
  for (const DType dtype : dtypes) jobs.push_back({Op::kScan, [=](Report& report) { check_scan(c, dtype, report); }});
}
void add(std::vector<Job>& jobs, const ConvCase& c, std::initializer_list<DType> dtypes) {
  for (const DType dtype : dtypes) jobs.push_back({Op::kConv, [=](Report& report) { check_conv(c, dtype, report); }});
}
void add(std::vector<Job>& jobs, const NormCase& c, std::initializer_list<DType> dtypes) {
  for (const DType dtype : dtypes) jobs.push_back({Op::kNorm, [=](Report& report) { check_norm(c, dtype, report); }});
}

void add_loss_and_decode(std::vector<Job>& jobs, bool all) {
  for (const auto& c : cross_entropy_cases(all)) {
    for (const DType dtype : {DType::kBFloat16, DType::kFloat16, DType::kFloat32})
      jobs.push_back({Op::kLoss, [=](Report& report) { check_cross_entropy(c, dtype, report); }});
  }
  for (const auto& c : decode_cases(all)) {
    for (const DType dtype : {DType::kBFloat16, DType::kFloat16})
      jobs.push_back({Op::kDecode, [=](Report& report) { check_decode(c, dtype, report); }});
  }
}

constexpr std::initializer_list<DType> kAll = {DType::kBFloat16, DType::kFloat16, DType::kFloat32};
constexpr std::initializer_list<DType> kBf16 = {DType::kBFloat16};

/// Option number i of a case: walks through combinations of the optional inputs.
ScanCase with_options(ScanCase c, int i) {
  c.z = i % 2 == 0;
  c.D = i / 2 % 2 == 0;
  c.delta_bias = i / 3 % 2 == 0;
  c.softplus = i / 5 % 2 == 0;
  c.initial_state = i % 3;
  c.lengths = i % 4 == 1;
  c.dlast_state = i % 2 == 1;
  c.last_state = i % 5 != 2;
  c.strided = i % 3 == 1;
  c.rank = i % 4 == 3 ? 5 : 8;  // 5: B and C not on 16-byte boundaries
  c.wanted = i % 4 == 2 ? 1u << (i / 4 % 9) : ScanCase::kAllGradients;
  return c;
}

/// With packed rows and some of the terms, by i.
ScanCase with_terms(ScanCase c, int i) {
  c = with_options(c, i);
  c.terms = i % 4 == 0 ? 63u : i % 4 == 1 ? 1u << (i / 4 % 6) : i % 4 == 2 ? 0u : 63u & ~(1u << (i / 4 % 6));
  c.wanted = i % 3 == 1 ? 1u << (i % 15) : ScanCase::kAllGradients;
  c.compact = i % 3 == 2;
  if (i % 2 == 0) c.batch = 1, c.lengths = false, c.packed = 1 + i / 2 % 9;
  return c;
}

constexpr int64_t kLoads[] = {40, 56, 88, 120, 150};  // in long rows one shape of the forward each

/// The forward by roles in every shape: channels that end within a block, one tile and more tiles than slots for them
/// (4), rows packed, with options. The backward by roles, whose blocks are walked in many tiles here, where it takes
/// them.
std::vector<ScanCase> roles_cases() {
  std::vector<ScanCase> cases;
  int option = 0;
  for (int shape = 0; shape < kernels::kSelectiveScanRolesShapes; ++shape) {
    constexpr int64_t kLong = 5 * kernels::kSelectiveScanRolesMostSteps + 11, kPacked = kLong - 1;
    for (const int64_t seqlen : {int64_t{18}, kLong, kPacked}) {
      ScanCase c;
      c.roles_shape = shape, c.d_inner = 168, c.seqlen = seqlen, c.batch = 1;
      if (seqlen > 18) c = with_options(c, option++);
      c.lengths = false;
      if (seqlen == kPacked) c.packed = 5, c.compact = shape % 2 == 1;
      const bool is_aligned = c.rank == 8;
      if (is_aligned) c.bwd_kernel = kernels::ScanBwdKernel::kRoles;
      cases.push_back(c);
      if (is_aligned || !c.compact) continue;
      c.rank = 8, c.z = shape % 4 == 1, c.bwd_kernel = kernels::ScanBwdKernel::kRoles;
      cases.push_back(c);
    }
  }
  return cases;
}

/// A few cases of every kernel, for compute-sanitizer.
std::vector<Job> small_jobs(std::initializer_list<DType> dtypes) {
  std::vector<Job> jobs;
  int option = 0;
  for (const int64_t d_state : {8, 16, 32, 64, 20}) {
    for (const int64_t seqlen : {1, 37}) {
      ScanCase c;
      c.seqlen = seqlen, c.d_state = d_state, c.d_inner = 40;
      add(jobs, with_options(c, option++), dtypes);
    }
  }
  ScanCase chunked;
  chunked.seqlen = 150;
  add(jobs, chunked, kBf16);
  ScanCase stretches;  // three a block of the expansion
  stretches.batch = 9 * kernels::multiprocessors(), stretches.d_inner = 8, stretches.seqlen = 70;
  stretches.compact = true;
  add(jobs, stretches, kBf16);
  for (int i = 0; i < 8; ++i) {
    ScanCase c;
    c.d_inner = 40, c.seqlen = 43 + i, c.d_state = i < 6 ? 16 : 32;
    if (dtypes.size() > 1 || i % 3 == 0) add(jobs, with_terms(c, i), i < 4 ? dtypes : kBf16);
  }
  for (const ScanCase& c : roles_cases()) add(jobs, c, kBf16);
  for (const int i : {0, 1, 2}) {
    ConvCase c;
    c.initial_state = i, c.lengths = i == 1, c.width = 2 + i, c.misaligned = i == 2;
    add(jobs, c, dtypes);
    c.batch = 1, c.lengths = false, c.packed = 5 + i, c.initial_state = 2 - i;
    add(jobs, c, dtypes);
  }
  for (const int64_t d_model : {24, 2560, 9000}) {
    NormCase c;
    c.d_model = d_model;
    add(jobs, c, dtypes);
  }
  for (const int64_t d_model : {33, 3080, 6200}) {  // more rows than blocks of the backward, some of them shorter
    NormCase c;
    c.d_model = d_model, c.rows = d_model == 33 ? 1030 : 259, c.dresidual_out = d_model != 3080;
    if (dtypes.size() > 1 || d_model == 3080) add(jobs, c, dtypes);
  }
  add_loss_and_decode(jobs, /*all=*/false);
  return jobs;
}

/// The backward by roles: rows of a part of a tile and of many, full blocks of channels and others, y from the forward
/// and from the expansion of compact states, packed rows, some of the options.
std::vector<Job> backward_roles_jobs() {
  std::vector<Job> jobs = {{Op::kScan, check_scan_roles_are_there}};
  int option = 0;
  for (const int64_t seqlen : {5, 37, 150}) {
    for (const int64_t d_inner : {40, 136}) {
      for (const bool compact : {false, true}) {
        ScanCase c;
        // numbers by which compact states come with a gate and without, padding and a last state's gradient elsewhere
        if (option % 3 != 0) c = with_options(c, 7 * option + option / 4), c.rank = 8;
        if (compact) c.wanted = ScanCase::kAllGradients;
        c.batch = 2, c.seqlen = seqlen, c.d_inner = d_inner, c.compact = compact, ++option;
        c.bwd_kernel = kernels::ScanBwdKernel::kRoles;
        add(jobs, c, kBf16);
        c.batch = 1, c.lengths = false, c.packed = 4, c.seqlen += 120;
        if (seqlen == 37) add(jobs, c, kBf16);
      }
    }
  }
  return jobs;
}

std::vector<Job> all_jobs() {
  std::vector<Job> jobs = small_jobs(kAll);
  jobs.push_back({Op::kScan, check_scan_math});
  jobs.push_back({Op::kScan, check_scan_roles_are_there});
  int option = 0;
  for (const int64_t d_state : {4, 8, 16, 32, 64}) {
    for (const int64_t seqlen : {1, 2, 8, 15, 16, 17, 33, 37, 64, 600, 1100}) {
      for (const int64_t d_inner : {8, 24, 64}) {
        if (seqlen > 64 && d_inner != 64) continue;
        ScanCase c;
        c.seqlen = seqlen, c.d_state = d_state, c.d_inner = d_inner;
        c.batch = 1 + option % 5;
        if (seqlen > 64) c.batch = 2;
        add(jobs, with_options(c, option++), kAll);
      }
    }
  }
  for (int i = 0; i < 64; ++i) {  // every option at the main state size
    ScanCase c;
    c.d_inner = 48, c.seqlen = 21 + i, c.batch = 3, c.compact = i >= 32;
    add(jobs, with_options(c, i % 32), kAll);
  }
  // the forward by roles: every shape, with few channels, and what it chooses for what loads this device, in short and
  // in long rows
  for (int i = 0; i < 12; ++i) {
    int kind = 0;
    auto add_rows = [&](int shape, int64_t d_inner) {
      for (const bool is_short : {false, true}) {
        for (const int packed : {0, 5}) {
          ScanCase c;
          c.roles_shape = shape, c.d_inner = d_inner, c.batch = 3, c.seqlen = is_short ? 20 + 9 * i : 256 + 5 * i;
          c = with_options(c, 7 * i + kind++);  // 7: all options with every kind
          c.compact = (i / 4 + kind) % 3 == 0;
          if (packed > 0) c.seqlen *= 3, c.batch = 1, c.lengths = false, c.packed = packed;
          add(jobs, c, kBf16);
          if (!c.compact) continue;
          c.compact_with_y = true;
          add(jobs, c, kBf16);
        }
      }
    };
    for (int shape = 0; shape < kernels::kSelectiveScanRolesShapes; ++shape) add_rows(shape, i / 2 % 2 == 0 ? 200 : 56);
    for (const int64_t load : kLoads) {
      if (i < 2) add_rows(-1, channels_for(load, 3));
    }
  }
  for (int shape = 0; shape < kernels::kSelectiveScanRolesShapes; ++shape) {
    // about the end of a group of steps, of a pair of groups, of tiles of 16, 32 and 64 steps
    for (const int64_t seqlen : {1, 8, 9, 16, 31, 32, 33, 48, 49, 63, 64, 65, 80, 127, 128, 129}) {
      ScanCase c;
      c.roles_shape = shape, c.d_inner = 24, c.batch = 2, c.seqlen = seqlen;
      c = with_options(c, option++);
      c.lengths = false, c.compact = option % 2 == 0;
      add(jobs, c, kBf16);
    }
    ScanCase extreme;  // rows that end within a group of 8 steps and at its end
    extreme.roles_shape = shape, extreme.extreme = true, extreme.batch = 3;
    for (const int64_t seqlen : {100, 101, 136, 144}) {
      extreme.seqlen = seqlen, extreme.compact = seqlen == 101;
      for (const int64_t d_inner : {56, 200}) {  // fewer channels than a block has, and a last block that is not full
        extreme.d_inner = d_inner;
        add(jobs, extreme, kBf16);
      }
    }
  }
  // so many stretches that a block of the expansion takes several
  for (const int64_t d_state : {16, 8, 32, 64}) {
    ScanCase stretches;
    stretches.batch = kernels::multiprocessors(), stretches.d_inner = 8, stretches.seqlen = 900;
    stretches.d_state = d_state, stretches.compact = true;
    add(jobs, stretches, {DType::kBFloat16, DType::kFloat16});
    stretches.compact_with_y = true;
    if (d_state == 16) add(jobs, stretches, {DType::kBFloat16, DType::kFloat16});
    stretches.compact_with_y = false, stretches.batch = 2, stretches.d_inner = 72;
    for (const int64_t seqlen : {17, 24, 25, 33, 61, 130}) {  // about the halves of a stretch's two tiles
      stretches.seqlen = seqlen;
      add(jobs, stretches, kAll);
    }
  }
  ScanCase dense;  // short rows that just fill the device, without y from the forward
  dense.batch = 4, dense.d_inner = 1536, dense.seqlen = 130, dense.compact = true;
  add(jobs, dense, kBf16);
  for (const auto& [c, dtype] : scan_cut_cases()) add(jobs, c, {dtype});
  option = 0;
  for (const int64_t d_state : {16, 8, 32, 64, 12, 200}) {
    for (const int64_t seqlen : {9, 16, 33, 61, 130, 600}) {
      if (d_state == 200 && seqlen > 61) continue;
      for (int i = 0; i < (d_state == 16 ? 8 : 3); ++i) {
        ScanCase c;
        c.seqlen = seqlen, c.d_state = d_state, c.d_inner = option % 3 == 0 ? 64 : 24, c.batch = 3;
        add(jobs, with_terms(c, option++), kAll);
      }
    }
  }
  for (const int64_t d_state : {8, 16, 32, 64}) {
    ScanCase wide;
    wide.d_inner = 1544, wide.seqlen = 37, wide.batch = 5, wide.d_state = d_state;
    add(jobs, wide, kAll);
    ScanCase extreme;
    extreme.extreme = true, extreme.d_state = d_state, extreme.seqlen = 100;
    add(jobs, extreme, kAll);
    ScanCase misaligned;
    misaligned.misaligned = true, misaligned.d_state = d_state, misaligned.strided = true;
    add(jobs, misaligned, kAll);
  }
  for (const int64_t d_inner : {4096, 5120, 12800}) {  // the forward's other shapes: 16384, 20480 and 51200 channels
    ScanCase many;
    many.batch = 4, many.d_inner = d_inner, many.seqlen = 19;
    add(jobs, many, {DType::kBFloat16, DType::kFloat16});
  }
  for (const int64_t d_state : {1, 3, 20, 100, 256}) {
    ScanCase any;
    any.d_state = d_state, any.d_inner = 13, any.lengths = d_state == 3, any.initial_state = d_state == 20 ? 2 : 1;
    any.dlast_state = true;
    add(jobs, any, kAll);
  }
  for (const ConvCase& c : conv_cases()) add(jobs, c, kAll);
  int norm = 0;
  for (const int64_t rows : {1, 5, 600}) {
    for (const int64_t d_model : {7, 8, 33, 64, 768, 1000, 1024, 2048, 2560, 5120, 10001, 12288}) {
      NormCase c;
      c.rows = rows, c.d_model = d_model, c.residual = norm % 2 == 0, c.dresidual_out = norm % 3 != 0;
      c.dweight = norm % 4 != 3, c.misaligned = norm % 5 == 4;
      ++norm;
      add(jobs, c, kAll);
    }
  }
  for (int wanted = 1; wanted < 8; ++wanted) {  // every subset of the gradients
    for (const int64_t d_model : {61, 768, 2560, 6148}) {
      NormCase c;
      c.rows = 301, c.d_model = d_model, c.residual = norm % 2 == 0, c.dresidual_out = norm % 3 != 0;
      c.dx = (wanted & 1) != 0, c.dresidual = (wanted & 2) != 0, c.dweight = (wanted & 4) != 0;
      ++norm;
      add(jobs, c, kAll);
    }
  }
  add_loss_and_decode(jobs, /*all=*/true);
  return jobs;
}

/// The grids of the published kernels' own tests, and what they leave out: every length to 65, around multiples of 32,
/// widths that are no multiple of 32, up to 33 rows. Options rotate instead of multiplying.
std::vector<Job> grid_jobs() {
  std::vector<Job> jobs;
  int option = 0;
  for (const int64_t seqlen : {8, 16, 32, 64, 128, 256, 372, 512, 784, 1024, 1134, 2048, 4096}) {
    for (int i = 0; i < 16; ++i) {  // mamba: tests/ops/test_selective_scan.py
      ScanCase c;
      c.batch = 2, c.seqlen = seqlen, c.d_inner = i % 2 == 0 ? 4 : 8, c.d_state = 8;
      c.last_state = i % 2 == 0, c.delta_bias = i / 2 % 2 == 0, c.softplus = i / 4 % 2 == 0, c.z = i / 8 % 2 == 0;
      c.D = option++ % 2 == 0;
      add(jobs, c, kAll);
    }
  }
  for (const int64_t d_state : {16, 32, 64}) {
    for (const int64_t d_inner : {2048, 2064, 4096}) {  // mamba: tests/ops/triton/test_selective_state_update.py
      ScanCase c;
      c.batch = 2, c.seqlen = 1, c.d_inner = d_inner, c.d_state = d_state, c.initial_state = 2, c.z = option++ % 2 == 0;
      add(jobs, c, kAll);
    }
  }
  for (int64_t seqlen = 1; seqlen <= 65; ++seqlen) {
    ScanCase c;
    c.seqlen = seqlen, c.d_inner = seqlen % 3 == 0 ? 72 : 40, c.batch = 1 + seqlen % 4,
    c.d_state = seqlen % 5 == 0 ? 32 : 16;
    add(jobs, with_options(c, option++), kAll);
  }
  for (const int64_t seqlen : {95, 97, 127, 129, 255, 257, 511, 513}) {
    for (const int64_t d_inner : {64, 1536, 4128}) {
      if (d_inner > 64 && seqlen > 129) continue;
      ScanCase c;
      c.seqlen = seqlen, c.d_inner = d_inner, c.batch = 1;
      add(jobs, with_options(c, option++), kAll);
    }
  }
  for (const int64_t batch : {1, 2, 7, 33}) {
    for (const int64_t d_state : {8, 16, 32, 64}) {
      ScanCase c;
      c.batch = batch, c.d_state = d_state, c.seqlen = 50, c.d_inner = 136;
      add(jobs, with_terms(c, option++), kAll);
    }
  }
  ScanCase memory;  // decays near 1 over 8192 steps
  memory.seqlen = 8192, memory.d_inner = 8, memory.batch = 1;
  add(jobs, memory, kAll);
  for (const int64_t d_inner : {64, 4128}) {  // causal-conv1d: tests/test_causal_conv1d.py
    for (const int64_t seqlen : {1, 2, 8, 16, 32, 64, 128, 129, 130, 151, 256, 372, 512, 784, 1024, 1134, 2048, 4096}) {
      if (d_inner > 64 && seqlen > 600) continue;
      for (const int64_t width : {2, 3, 4}) {
        ConvCase c;
        c.batch = 2, c.seqlen = seqlen, c.d_inner = d_inner, c.width = width, c.strided = true;
        c.silu = option % 2 == 0, c.bias = option / 2 % 2 == 0, c.initial_state = option % 3;
        add(jobs, c, kAll);
        c.batch = 1, c.packed = 1 + option % 4;
        if (seqlen > 2) add(jobs, c, kAll);
        ++option;
      }
    }
  }
  for (const int64_t rows : {2, 3, 127, 511, 513, 1023, 1025, 2049, 4099}) {
    for (const int64_t d_model : {4, 12, 130, 260, 772, 1020, 1028, 1536, 2056}) {
      NormCase c;
      c.rows = rows, c.d_model = d_model, c.residual = option % 2 == 0, c.dresidual_out = option % 3 != 0;
      c.misaligned = option++ % 4 == 3;
      add(jobs, c, kAll);
    }
  }
  return jobs;
}

std::vector<Job> repeat_jobs() {
  std::vector<Job> jobs;
  auto repeat = [&](const ScanCase& c) {
    for (const DType dtype : kAll)
      jobs.push_back({Op::kScan, [=](Report& report) { check_scan_repeats(c, dtype, report); }});
  };
  ScanCase c;
  c.batch = 3, c.seqlen = 300, c.d_inner = 264, c.initial_state = 2, c.dlast_state = true;
  repeat(c);
  c.compact = true;
  repeat(c);
  c.terms = 63;
  repeat(c);
  c.compact = false, c.batch = 1, c.packed = 7;
  repeat(c);
  c.d_state = 20;
  repeat(c);
  for (const auto& [cut, dtype] : scan_cut_cases()) {
    if (!cut.joined_rests) continue;
    jobs.push_back({Op::kScan, [cut = cut, dtype = dtype](Report& report) { check_scan_repeats(cut, dtype, report); }});
  }
  std::vector<ScanCase> by_roles = roles_cases();
  for (const int64_t load : kLoads) {
    for (const int64_t seqlen : {90, 300}) {
      ScanCase many;
      many.batch = 3, many.seqlen = seqlen, many.d_inner = channels_for(load, 3);
      by_roles.push_back(many);
    }
  }
  for (const ScanCase& roles : by_roles) {
    jobs.push_back({Op::kScan, [=](Report& report) { check_scan_repeats(roles, DType::kBFloat16, report); }});
  }
  for (const int64_t seqlen : {120, 1500}) {  // sums of dweight in a cluster, and in a second launch
    ConvCase conv;
    conv.batch = 4, conv.seqlen = seqlen, conv.d_inner = 1544, conv.initial_state = 2, conv.lengths = true;
    conv.repeats = 100, conv.launches = seqlen == 120 ? ConvCase::kOne : ConvCase::kSeveral;
    add(jobs, conv, kAll);
  }
  for (const int64_t d_model : {768, 2560}) {
    NormCase norm;
    norm.rows = 2050, norm.d_model = d_model, norm.repeats = 100;
    add(jobs, norm, kAll);
  }
  jobs.push_back({Op::kScan, check_scan_far_apart});
  return jobs;
}

/// The references are slow: cases run on all cores, each thread on its own stream.
bool run(std::vector<Job> jobs, const std::set<Op>& ops, unsigned threads) {
  std::erase_if(jobs, [&](const Job& job) { return !ops.contains(job.op); });
  Report report;
  std::atomic<size_t> next{0};
  std::vector<std::thread> workers;
  for (unsigned i = 0; i < threads; ++i) {
    workers.emplace_back([&] {
      for (size_t job = next++; job < jobs.size(); job = next++) jobs[job].check(report);
    });
  }
  for (std::thread& worker : workers) worker.join();
  report.print();
  return report.passed();
}

constexpr std::pair<const char*, Op> kOps[] = {
    {"scan", Op::kScan}, {"conv", Op::kConv}, {"norm", Op::kNorm}, {"loss", Op::kLoss}, {"decode", Op::kDecode}};

/// The operators that `names`, parted by commas, has; all of them if it is empty.
std::set<Op> parse_ops(std::string names) {
  std::set<Op> ops;
  for (const auto& [name, op] : kOps) {
    if (names.empty() || ("," + names + ",").find("," + std::string(name) + ",") != std::string::npos) ops.insert(op);
  }
  return ops;
}

}  // namespace
}  // namespace mpeft::cuda_check

int main(int argc, char** argv) {
  using namespace mpeft::cuda_check;
  const std::vector<std::string> modes(argv + 1, argv + argc);
  bool ok = true;
  std::set<Op> ops = parse_ops("");
  const unsigned cores = std::max(1u, std::thread::hardware_concurrency());
  for (const std::string& mode : modes) {
    if (mode.starts_with("only=")) {
      ops = parse_ops(mode.substr(5));
    } else if (mode == "check") {
      ok = run(all_jobs(), ops, cores) && ok;
    } else if (mode == "grid") {
      ok = run(grid_jobs(), ops, cores) && ok;
    } else if (mode == "repeats") {
      ok = run(repeat_jobs(), ops, 1) && ok;
    } else if (mode == "small") {
      ok = run(small_jobs(kAll), ops, 1) && ok;
    } else if (mode == "smallest") {
      ok = run(small_jobs(kBf16), ops, 1) && ok;
    } else if (mode == "roles") {
      ok = run(backward_roles_jobs(), ops, 1) && ok;
    } else if (mode == "time") {
      time_all(ops);
    } else {
      ops.clear();  // not a mode
    }
    if (ops.empty()) {
      std::fprintf(
          stderr,
          "usage: kernel_check [only=OP,...] [check] [grid] [repeats] [small] [smallest] [roles] [time]; not '%s'\n",
          mode.c_str());
      return 2;
    }
  }
  return ok ? 0 : 1;
}
