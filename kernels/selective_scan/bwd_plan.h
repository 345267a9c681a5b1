#pragma once

#include <cstdint>

#include "kernels/common/sequence.h"
#include "kernels/selective_scan/bwd_cut.h"

// defines: BwdPart, BwdPlan, enter_cut
//
// Selective scan, backward: what its kernels know of how a launch divides the work. Arithmetic alone, like bwd_cut.h.

namespace mpeft::kernels {

/// A row of a batch and a chunk of its time.
struct BwdPart {
  int64_t row;
  int chunk;
};

/// How one launch divides time, and where its partial results lie in the workspace (floats): a row of their array for
/// each part. Time is a number of pieces, for the first pass. For the main pass the first long_chunks chunks are
/// chunk_pieces of them each, the others one.
struct BwdPlan {
  int64_t channels;        ///< of a block
  int64_t channel_blocks;  ///< of a row
  int64_t piece_steps;     ///< a multiple of the tile
  int pieces, chunk_pieces, long_chunks, chunks;
  int64_t whole;                    ///< of the (row, block of channels) pairs, the first so many are not cut
  int64_t first_cut_row, cut_rows;  ///< the rows that have a pair that is cut: of the others there is only chunk 0
  int64_t cut_rows_inverse;         ///< 2^32 / cut_rows, rounded up: a multiplication divides exactly below 2^16
  int64_t uncut_steps;              ///< nor is a row of at most so many steps, be it alone or packed with longer ones
  int64_t expanded;                 ///< the states that the forward did not keep: bwd_expand.cuh
  int64_t dBC;                      ///< [channel_block][token][2 d_state]
  int64_t dA, dstate_offset, dB_scale, dB_bias, dC_scale, dC_bias;  ///< [part][d_inner][d_state]
  int64_t dD, dbias, dout_offset;                                   ///< [part][d_inner]
  int64_t carry;      ///< [piece * batch][d_inner][d_state]: what a piece hands to the one before it, entered with 0
  int64_t delta_sum;  ///< [piece * batch][d_inner], in units of kDeltaUnit
  int64_t floats;     ///< in all

  /// pair: of a row of `length` steps and a block of channels.
  MPEFT_INLINE bool is_whole(int64_t pair, int64_t length) const { return pair < whole || length <= uncut_steps; }
  MPEFT_INLINE int first_piece(int chunk) const {
    return chunk < long_chunks ? chunk * chunk_pieces : long_chunks * chunk_pieces + chunk - long_chunks;
  }
  MPEFT_INLINE int end_piece(int chunk) const { return first_piece(chunk) + (chunk < long_chunks ? chunk_pieces : 1); }
  MPEFT_INLINE int64_t parts(int64_t batch) const { return batch + (chunks - 1) * cut_rows; }
  /// First chunk 0 of all rows, then chunk 1 of those that are cut, and so on.
  MPEFT_INLINE BwdPart part(int64_t batch, int64_t number) const {
    if (number < batch) return {number, 0};
    const int64_t later = number - batch, chunks_before = later * cut_rows_inverse >> 32;
    return {first_cut_row + later - chunks_before * cut_rows, static_cast<int>(1 + chunks_before)};
  }
};

/// Cuts the last cut_pairs of `pairs` pairs of a plan that is not cut; where that would make more than most_parts parts
/// it stays as it is. most_parts: below 2^16, or cut_rows_inverse does not divide exactly. piece_steps is then a number
/// of tiles.
inline void enter_cut(BwdPlan& plan, const bwd::TimeCut& cut, int64_t pairs, int64_t cut_pairs, int64_t most_parts) {
  const int64_t rows = pairs / plan.channel_blocks, first_cut_row = (pairs - cut_pairs) / plan.channel_blocks;
  if (cut.piece_tiles == 0 || rows + (cut.chunks() - 1) * (rows - first_cut_row) > most_parts) return;
  plan.piece_steps = cut.piece_tiles;
  plan.pieces = static_cast<int>(cut.pieces());
  plan.chunk_pieces = static_cast<int>(cut.long_pieces);
  plan.long_chunks = static_cast<int>(cut.long_chunks);
  plan.chunks = static_cast<int>(cut.chunks());
  plan.whole = pairs - cut_pairs;
  plan.first_cut_row = first_cut_row;
  plan.cut_rows = rows - first_cut_row;
  plan.cut_rows_inverse = ((int64_t{1} << 32) + plan.cut_rows - 1) / plan.cut_rows;
}

}  // namespace mpeft::kernels
