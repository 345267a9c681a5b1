#pragma once

#include <cstdint>

#include "kernels/common/sequence.h"
#include "kernels/selective_scan/bwd_cut.h"

// defines: BwdPart, BwdLastRows, BwdSteps, BwdPieces, BwdPlan, plan_without_cut, enter_cut
//
// Selective scan, backward: what its kernels know of how a launch divides the work. Arithmetic alone, like bwd_cut.h.

namespace mpeft::kernels {

/// A row of a batch and a chunk of its time.
struct BwdPart {
  uint32_t row, chunk;
};

/// The last rows of a batch. A multiplication by the inverse, 2^31 / count rounded up, divides exactly where the number
/// divided and `count` together are below 2^16.
struct BwdLastRows {
  uint32_t first, count, inverse;

  /// The number-th of several chunks of them, chunk after chunk.
  MPEFT_INLINE BwdPart part(uint32_t number) const {
    const auto chunk = static_cast<uint32_t>(uint64_t{number} * inverse >> 31);
    return {first + number - chunk * count, chunk};
  }
};

/// Steps of a row. (32-bit numbers without sign, as elsewhere here: every block begins with this arithmetic, and a row
/// of 2^31 steps need not fill its last chunk.)
struct BwdSteps {
  uint32_t first, end;
};

/// Tiles shared evenly by pieces, the longer ones first.
struct BwdPieces {
  uint32_t steps, longer, count;  ///< steps: of the shorter ones, a multiple of the tile

  /// Where piece i begins, or for i = count where the last ends.
  MPEFT_INLINE uint32_t first_step(uint32_t i, uint32_t tile_steps) const {
    return i * steps + (i < longer ? i : longer) * tile_steps;
  }
};

/// How one launch divides time, and where its partial results lie in the workspace (floats): a row of their array for
/// each part. Time is a number of pieces, for the first pass: those of long_chunks chunks of the same length, then
/// those of the rest. The rest is one chunk, or a chunk a piece.
struct BwdPlan {
  int64_t whole;   ///< of the (row, block of channels) pairs, the first so many are not cut
  int64_t joined;  ///< of the first so many the rest is at most one chunk
  uint32_t tile_steps, long_steps, long_chunks;
  uint32_t uncut_steps;        ///< nor is a row of at most so many steps cut, be it alone or packed with longer ones
  BwdPieces of_long, of_rest;  ///< of a long chunk and of the rest
  uint32_t long_inverse;       ///< 2^16 / of_long.count rounded up: divides up to kMostPieces exactly
  BwdLastRows cut;             ///< the rows that have a pair that is cut: of the others there is only chunk 0
  BwdLastRows split;           ///< the rows that have a pair whose rest is a chunk a piece
  int64_t channels;            ///< of a block
  int64_t channel_blocks;      ///< of a row
  int64_t expanded;  ///< the states that the forward did not keep (bwd_expand.cuh), then y if it is to come too
  int64_t dBC;       ///< [channel_block][token][2 d_state]
  int64_t dA, dstate_offset, dB_scale, dB_bias, dC_scale, dC_bias;  ///< [part][d_inner][d_state]
  int64_t dD, dbias, dout_offset;                                   ///< [part][d_inner]
  int64_t carry;      ///< [carry_row][d_inner][d_state]: what a piece hands to the one before it, entered with 0
  int64_t delta_sum;  ///< [carry_row][d_inner], in units of kDeltaUnit
  int64_t floats;     ///< in all

  /// pair: of a row of `length` steps and a block of channels.
  MPEFT_INLINE bool is_whole(int64_t pair, int64_t length) const { return pair < whole || length <= uncut_steps; }
  MPEFT_INLINE uint32_t pieces() const { return long_chunks * of_long.count + of_rest.count; }
  /// Those behind the first chunk: what they hand on is kept, of rows that have a pair that is cut.
  MPEFT_INLINE uint32_t later_pieces() const { return pieces() - of_long.count; }
  MPEFT_INLINE int64_t carry_rows() const { return int64_t{later_pieces()} * cut.count; }
  MPEFT_INLINE int64_t carry_row(uint32_t piece, uint32_t row) const {
    return int64_t{piece - of_long.count} * cut.count + (row - cut.first);
  }
  /// Of a piece, be the row that long or not.
  MPEFT_INLINE BwdSteps steps_of(uint32_t piece) const {
    const uint32_t before = piece * long_inverse >> 16, chunk = before < long_chunks ? before : long_chunks;
    const BwdPieces& pieces = before < long_chunks ? of_long : of_rest;
    const uint32_t i = piece - chunk * of_long.count, first = chunk * long_steps + pieces.first_step(i, tile_steps);
    return {first, first + pieces.steps + (i < pieces.longer ? tile_steps : 0)};
  }
  /// Of pairs whose rest is split: of no pair are there more.
  MPEFT_INLINE uint32_t chunks() const { return long_chunks + of_rest.count; }
  /// Of every pair that is cut.
  MPEFT_INLINE uint32_t common_chunks() const { return of_rest.count == 0 ? long_chunks : long_chunks + 1; }
  /// uncut: is_whole.
  MPEFT_INLINE uint32_t chunks_of(int64_t pair, bool uncut) const {
    return uncut ? 1 : pair < joined ? common_chunks() : chunks();
  }
  /// The chunk of those numbered as where the rest is split that begins where a chunk of this pair ends.
  MPEFT_INLINE uint32_t next_chunk(int64_t pair, bool uncut, uint32_t chunk) const {
    return uncut || (chunk == long_chunks && pair < joined) ? chunks() : chunk + 1;
  }
  /// Of chunks so numbered; chunks(): the end.
  MPEFT_INLINE uint32_t first_piece(uint32_t chunk) const {
    return chunk < long_chunks ? chunk * of_long.count : long_chunks * of_long.count + chunk - long_chunks;
  }
  MPEFT_INLINE uint32_t chunk_first_step(uint32_t chunk) const {
    if (chunk < long_chunks) return chunk * long_steps;
    return long_chunks * long_steps + of_rest.first_step(chunk - long_chunks, tile_steps);
  }
  MPEFT_INLINE uint32_t parts(uint32_t batch) const {
    return batch + (common_chunks() - 1) * cut.count + (chunks() - common_chunks()) * split.count;
  }
  /// First chunk 0 of all rows, then chunk 1 of those that are cut, and so on.
  MPEFT_INLINE BwdPart part(uint32_t batch, uint32_t number) const {
    if (number < batch) return {number, 0};
    const uint32_t later = number - batch, common = (common_chunks() - 1) * cut.count;
    BwdPart part = later < common ? cut.part(later) : split.part(later - common);
    part.chunk += later < common ? 1 : common_chunks();
    return part;
  }
};

/// A plan that cuts no pair of `rows` rows of at most seqlen steps.
inline BwdPlan plan_without_cut(int64_t rows, int64_t channels, int64_t channel_blocks, int64_t seqlen,
                                int64_t tile_steps) {
  BwdPlan plan{};
  plan.whole = plan.joined = rows * channel_blocks;
  plan.tile_steps = static_cast<uint32_t>(tile_steps);
  plan.long_steps = static_cast<uint32_t>(seqlen);
  plan.long_chunks = 1;
  plan.uncut_steps = static_cast<uint32_t>(bwd::kUncutTiles * tile_steps);
  plan.of_long = {.steps = plan.long_steps, .longer = 0, .count = 1};
  plan.long_inverse = 1u << 16;
  plan.channels = channels;
  plan.channel_blocks = channel_blocks;
  return plan;
}

/// Cuts the last cut_pairs of `pairs` pairs of `tiles` tiles of a plan that is not cut; where that would make more than
/// most_parts parts it stays as it is. most_parts: below 2^16, or BwdLastRows does not divide exactly. cut: of at most
/// kMostPieces pieces, its joined_pairs fewer than cut_pairs, its rest at least as many tiles as pieces.
inline void enter_cut(BwdPlan& plan, const bwd::TimeCut& cut, int64_t pairs, int64_t cut_pairs, int64_t tiles,
                      int64_t most_parts) {
  if (cut.long_tiles == 0) return;
  const auto share = [&](int64_t of_tiles, int64_t pieces) {
    if (pieces == 0) return BwdPieces{};
    return BwdPieces{.steps = static_cast<uint32_t>(of_tiles / pieces) * plan.tile_steps,
                     .longer = static_cast<uint32_t>(of_tiles % pieces),
                     .count = static_cast<uint32_t>(pieces)};
  };
  const int64_t rows = pairs / plan.channel_blocks;
  if (rows > most_parts) return;
  const auto rows_from = [&](int64_t pair) {
    const int64_t first = pair / plan.channel_blocks, count = rows - first;
    return BwdLastRows{static_cast<uint32_t>(first), static_cast<uint32_t>(count),
                       count == 0 ? 0 : static_cast<uint32_t>(((int64_t{1} << 31) + count - 1) / count)};
  };
  BwdPlan with_cut = plan;
  with_cut.whole = pairs - cut_pairs;
  with_cut.joined = with_cut.whole + cut.joined_pairs;
  with_cut.long_steps = static_cast<uint32_t>(cut.long_tiles) * plan.tile_steps;
  with_cut.long_chunks = static_cast<uint32_t>(cut.long_chunks);
  with_cut.of_long = share(cut.long_tiles, cut.long_pieces);
  with_cut.long_inverse = static_cast<uint32_t>(((int64_t{1} << 16) + cut.long_pieces - 1) / cut.long_pieces);
  with_cut.of_rest = share(tiles - cut.long_chunks * cut.long_tiles, cut.rest_pieces);
  with_cut.cut = rows_from(with_cut.whole);
  with_cut.split = rows_from(with_cut.joined);
  if (with_cut.parts(static_cast<uint32_t>(rows)) <= most_parts) plan = with_cut;
}

}  // namespace mpeft::kernels
