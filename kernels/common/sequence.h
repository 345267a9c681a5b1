#pragma once

#include <cstdint>

// defines: MPEFT_INLINE, Sequence, RowSpan, row_length, row_span, row_offset, n_tokens, is_padding, n_row_parts,
// first_row_part
//
// How the rows of an operator lie in its tensors. Batched: `batch` rows of `seqlen` steps, of which the first
// lengths[row] count. Packed: `batch` rows one after another in one tensor of `seqlen` tokens, row r in
// [cu_seqlens[r], cu_seqlens[r + 1]); tokens behind the last row are padding.

#if defined(__CUDACC__)
#define MPEFT_INLINE __host__ __device__ __forceinline__
#else
#define MPEFT_INLINE __attribute__((always_inline)) inline
#endif

namespace mpeft::kernels {

/// A (batch, seqlen, n) tensor whose last axis is contiguous: a view into a wider row is fine.
template <typename scalar_t>
struct Sequence {
  scalar_t* data = nullptr;  ///< null: absent
  int64_t batch_stride = 0;  ///< elements; 0 in the packed layout
  int64_t time_stride = 0;   ///< elements
};

/// Steps of a row that are not padding: lengths[row] kept inside [0, seqlen], or seqlen when there are no lengths.
MPEFT_INLINE int64_t row_length(const int32_t* lengths, int64_t row, int64_t seqlen) {
  if (lengths == nullptr) return seqlen;
  const int64_t length = lengths[row];
  return length < 0 ? 0 : (length > seqlen ? seqlen : length);
}

/// Where a row lies among the tokens.
struct RowSpan {
  int64_t first;   ///< its step 0 among the tokens of all rows
  int64_t start;   ///< its step 0 on the tensors' time axis
  int64_t length;  ///< steps that are not padding
  int64_t stored;  ///< steps whose outputs are written: 0 from `length` on
};

/// `p` has batch, seqlen, lengths and cu_seqlens. What lies outside the tensor in a malformed cu_seqlens is cut off.
template <typename Inputs>
MPEFT_INLINE RowSpan row_span(const Inputs& p, int64_t row) {
  if (p.cu_seqlens == nullptr) return {row * p.seqlen, 0, row_length(p.lengths, row, p.seqlen), p.seqlen};
  const int64_t first = row == 0 ? 0 : row_length(p.cu_seqlens, row, p.seqlen);
  int64_t end = row_length(p.cu_seqlens, row + 1, p.seqlen);
  if (end < first) end = first;
  return {first, first, end - first, (row + 1 == p.batch ? p.seqlen : end) - first};
}

/// Elements from a tensor's start to step 0 of the row.
template <typename scalar_t>
MPEFT_INLINE int64_t row_offset(const Sequence<scalar_t>& s, int64_t row, const RowSpan& span) {
  return row * s.batch_stride + span.start * s.time_stride;
}

/// Steps of all rows together, padding included.
template <typename Inputs>
MPEFT_INLINE int64_t n_tokens(const Inputs& p) {
  return p.cu_seqlens == nullptr ? p.batch * p.seqlen : p.seqlen;
}

template <typename Inputs>
MPEFT_INLINE bool is_padding(const Inputs& p, int64_t token) {
  if (p.cu_seqlens != nullptr) return token >= row_length(p.cu_seqlens, p.batch, p.seqlen);
  const int64_t row = token / p.seqlen;
  return token - row * p.seqlen >= row_length(p.lengths, row, p.seqlen);
}

/// Places for parts of `every` steps each, of all rows together; part k of a row lies at first_row_part + k. Rows that
/// are packed have no multiple of `every` in common: one more part a row is always room enough.
MPEFT_INLINE int64_t n_row_parts(int64_t batch, int64_t seqlen, bool packed, int64_t every) {
  return packed ? seqlen / every + batch : batch * ((seqlen + every - 1) / every);
}
template <typename Inputs>
MPEFT_INLINE int64_t first_row_part(const Inputs& p, int64_t row, const RowSpan& span, int64_t every) {
  return p.cu_seqlens == nullptr ? row * ((p.seqlen + every - 1) / every) : span.first / every + row;
}

}  // namespace mpeft::kernels
