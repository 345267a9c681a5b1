#pragma once

#include "kernels/selective_scan/bwd_plan.h"
#include "kernels/selective_scan/scan_tile.cuh"

// defines: BwdWork, locate_work
//
// Selective scan, backward, main pass: which chunk of which row and which channels a block walks.

namespace mpeft::kernels {

struct BwdWork {
  ScanBlock block;  ///< its row is the number of the part
  RowSpan span;     ///< of the row
  int64_t row;
  bool whole;  ///< the row's time is not cut for these channels
  bool idle;   ///< they have fewer chunks than others of the row: there is nothing to walk, zeros go to the sums
  uint32_t next_chunk;  ///< that begins where this one ends (BwdPlan::next_chunk)
  int first, end;       ///< steps of this chunk that are walked
  int64_t stored_end;   ///< from `end` up to here gradients are zeros
  int last_tile;        ///< first step of the tile that is walked first

  __device__ __forceinline__ int tiles(int tile_steps) const {
    return first < end ? (last_tile - first) / tile_steps + 1 : 0;
  }
};

template <int kChannels, int kTile, typename Params>
__device__ __forceinline__ BwdWork locate_work(const Params& p, const BwdPlan& plan) {
  BwdWork work;
  work.block = locate_block<kChannels>(p);
  const BwdPart part = plan.part(static_cast<uint32_t>(p.batch), blockIdx.y);
  work.row = part.row;
  work.span = row_span(p, work.row);
  const int64_t pair = work.row * gridDim.x + blockIdx.x;
  work.whole = plan.is_whole(pair, work.span.length);
  work.idle = part.chunk >= plan.chunks_of(pair, work.whole);
  work.next_chunk = plan.next_chunk(pair, work.whole, part.chunk);
  work.first = work.idle ? static_cast<int>(work.span.stored) : static_cast<int>(plan.chunk_first_step(part.chunk));
  work.stored_end = work.whole || work.idle ? work.span.stored
                                            : min(work.span.stored, int64_t{plan.chunk_first_step(work.next_chunk)});
  work.end = min(static_cast<int>(work.span.length), static_cast<int>(work.stored_end));
  work.last_tile = work.first + (work.end - work.first - 1) / kTile * kTile;
  return work;
}

}  // namespace mpeft::kernels
