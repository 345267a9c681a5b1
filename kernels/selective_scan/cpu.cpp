#include "kernels/selective_scan/cpu.h"

#include <algorithm>
#include <optional>
#include <type_traits>

#include "kernels/common/cpu_partition.h"
#include "kernels/common/half.h"
#include "kernels/selective_scan/cpu_tasks.h"
#include "kernels/selective_scan/reference.h"

namespace mpeft::kernels {

static_assert(kCpuCheckpointEvery == kScanTile);

namespace {

template <typename scalar_t>
SelectiveScanTasks<scalar_t> tasks_for([[maybe_unused]] CpuCapability capability) {
#if defined(__x86_64__)
  if (capability == CpuCapability::kAvx512) return selective_scan_tasks_avx512<scalar_t>();
  if (capability == CpuCapability::kAvx2) return selective_scan_tasks_avx2<scalar_t>();
#endif
  return selective_scan_tasks_baseline<scalar_t>();
}

/// Calls task(row, chunks, scratch) for all chunks of all rows: a thread's chunks of one row together, as far as they
/// may be. How they are cut has no say in any result.
template <typename Inputs, typename Scratch, typename Task>
void for_chunks_of_rows(const Inputs& p, const ParallelFor& parallel_for, const Scratch& scratch_size,
                        const Task& task) {
  const int64_t chunks = n_parts(p.d_inner, kScanChunk);
  const int64_t together = std::min(chunks, scan_chunks_together(p.d_state));
  parallel_for(p.batch * chunks, [&](int64_t begin, int64_t end) {
    const AlignedBuffer scratch(scratch_size(std::min(together, end - begin)));
    for (int64_t i = begin; i < end;) {
      const int64_t row = i / chunks, first = i - row * chunks;
      const int64_t n = std::min({together, end - i, chunks - first});
      task(row, ChunkRange{first, first + n}, scratch.data());
      i += n;
    }
  });
}

/// (n_chunks, n_tokens, d_state) to (n_tokens, d_state): the sum over chunks, in order; 0 for padding.
template <typename scalar_t>
void sum_chunks(const SelectiveScanInputs<scalar_t>& p, const float* partial, int64_t n_chunks,
                const Sequence<scalar_t>& to, const ParallelFor& parallel_for) {
  if (to.data == nullptr) return;
  const int64_t N = p.d_state, tokens = n_tokens(p);
  parallel_for(tokens, [&](int64_t begin, int64_t end) {
    const AlignedBuffer sums(N);
    float* const sum = sums.data();
    for (int64_t token = begin; token < end; ++token) {
      const int64_t row = p.cu_seqlens != nullptr ? 0 : token / p.seqlen, t = token - row * p.seqlen;
      for (int64_t n = 0; n < N; ++n) sum[n] = 0.0f;
      for (int64_t c = 0; !is_padding(p, token) && c < n_chunks; ++c) {
        const float* const from = partial + (c * tokens + token) * N;
        for (int64_t n = 0; n < N; ++n) sum[n] += from[n];
      }
      for (int64_t n = 0; n < N; ++n) from_acc(sum[n], to.data[row * to.batch_stride + t * to.time_stride + n]);
    }
  });
}

}  // namespace

template <typename scalar_t>
void selective_scan_fwd_cpu(const SelectiveScanFwdParams<scalar_t>& p, const ParallelFor& parallel_for,
                            CpuCapability capability) {
  if constexpr (std::is_same_v<scalar_t, double>) {
    selective_scan_fwd_reference(p);
  } else {
    const auto tasks = tasks_for<scalar_t>(capability);
    for_chunks_of_rows(
        p, parallel_for, [&](int64_t n_chunks) { return tasks.fwd_scratch(n_chunks, p.d_state, has_state_terms(p)); },
        [&](int64_t row, const ChunkRange& chunks, float* scratch) { tasks.fwd(p, row, chunks, scratch); });
  }
}

template <typename scalar_t>
void selective_scan_bwd_cpu(const SelectiveScanBwdParams<scalar_t>& p, const ParallelFor& parallel_for,
                            CpuCapability capability) {
  if constexpr (std::is_same_v<scalar_t, double>) {
    selective_scan_bwd_reference(p);
  } else {
    const auto tasks = tasks_for<scalar_t>(capability);
    const int64_t chunks = n_parts(p.d_inner, kScanChunk);
    const int64_t bc_size = chunks * n_tokens(p) * p.d_state;
    std::optional<AlignedBuffer> dB, dC;
    SelectiveScanPartials partials;
    partials.dB = allocate_if(p.dB.data != nullptr, bc_size, dB);
    partials.dC = allocate_if(p.dC.data != nullptr, bc_size, dC);
    struct RowSum {
      float** partial;
      float* sum;
      int64_t size;
      std::optional<AlignedBuffer> buffer = {};
    };
    const int64_t states = p.d_inner * p.d_state;
    RowSum row_sums[] = {{&partials.dA, p.dA, states},
                         {&partials.dstate_offset, p.dstate_offset, states},
                         {&partials.dB_scale, p.dB_scale, states},
                         {&partials.dB_bias, p.dB_bias, states},
                         {&partials.dC_scale, p.dC_scale, states},
                         {&partials.dC_bias, p.dC_bias, states},
                         {&partials.dD, p.dD, p.d_inner},
                         {&partials.ddelta_bias, p.ddelta_bias, p.d_inner},
                         {&partials.dout_offset, p.dout_offset, p.d_inner}};
    for (RowSum& s : row_sums) *s.partial = allocate_if(s.sum != nullptr, p.batch * s.size, s.buffer);

    for_chunks_of_rows(
        p, parallel_for, [&](int64_t n_chunks) { return tasks.bwd_scratch(n_chunks, p.d_state, has_state_terms(p)); },
        [&](int64_t row, const ChunkRange& range, float* scratch) { tasks.bwd(p, partials, row, range, scratch); });

    sum_chunks(p, partials.dB, chunks, p.dB, parallel_for);
    sum_chunks(p, partials.dC, chunks, p.dC, parallel_for);
    for (const RowSum& s : row_sums) sum_rows(*s.partial, p.batch, s.size, s.sum, parallel_for);
  }
}

#define MPEFT_INSTANTIATE(scalar_t)                                                                                 \
  template void selective_scan_fwd_cpu(const SelectiveScanFwdParams<scalar_t>&, const ParallelFor&, CpuCapability); \
  template void selective_scan_bwd_cpu(const SelectiveScanBwdParams<scalar_t>&, const ParallelFor&, CpuCapability);
MPEFT_INSTANTIATE(double)
MPEFT_INSTANTIATE(float)
MPEFT_INSTANTIATE(BFloat16)
MPEFT_INSTANTIATE(Half)
#undef MPEFT_INSTANTIATE

}  // namespace mpeft::kernels
