// How the backward of the selective scan cuts time: arithmetic alone, so without a GPU.
#include <gtest/gtest.h>

#include "kernels/selective_scan/bwd_cut.h"

namespace mpeft::kernels::bwd {
namespace {

constexpr CutDevice kDevice = {132, 264, 528};

/// Every tile of a row belongs to one chunk, none of which is empty.
void expect_covers(const TimeCut& cut, int64_t tiles) {
  EXPECT_GE(cut.pieces() * cut.piece_tiles, tiles);
  EXPECT_LT((cut.pieces() - 1) * cut.piece_tiles, tiles);
  EXPECT_GE(cut.long_pieces, 1);
  EXPECT_GE(cut.long_chunks, 1);
  EXPECT_GE(cut.short_chunks, 0);
  EXPECT_GE(cut.chunks(), 2);
  EXPECT_LE(cut.pieces(), 64);
}

TEST(SelectiveScanCutTest, ChunksCoverEveryRow) {
  int64_t cuts = 0;
  for (const CutDevice& device : {kDevice, CutDevice{1, 2, 4}, CutDevice{108, 216, 324}}) {
    for (int64_t pairs = 1; pairs < device.places; pairs += 1 + pairs / 3) {
      for (const int64_t whole : {int64_t{0}, device.places}) {
        for (int64_t tiles = 1; tiles < 3000; tiles += 1 + tiles / 2) {
          const TimeCut cut = best_cut(pairs, pairs + whole, tiles, device);
          if (cut.piece_tiles == 0) continue;
          SCOPED_TRACE(::testing::Message() << pairs << " pairs behind " << whole << ", " << tiles << " tiles");
          ++cuts;
          expect_covers(cut, tiles);
          EXPECT_GT(tiles, kUncutTiles);  // short rows rely on it: BwdPlan::uncut_steps
        }
      }
    }
  }
  EXPECT_GT(cuts, 500);
}

TEST(SelectiveScanCutTest, FewRowsAreSpreadOverTheDevice) {
  const TimeCut one_row = best_cut(24, 24, 32, kDevice);  // 1536 channels, 512 steps
  EXPECT_GE(24 * one_row.chunks(), kDevice.multiprocessors);
  EXPECT_LE(24 * one_row.chunks(), kDevice.places);
  // the first of two equal parts of the time of half of the places
  const TimeCut half = best_cut(132, 132, 64, kDevice);
  EXPECT_EQ(half.chunks(), 2);
  EXPECT_EQ(half.long_chunks * half.long_pieces * half.piece_tiles, 64);
}

TEST(SelectiveScanCutTest, AFullDeviceIsNotCut) {
  EXPECT_EQ(best_cut(263, 263, 128, kDevice).piece_tiles, 0);
  EXPECT_EQ(best_cut(256, 256, 32, kDevice).piece_tiles, 0);
}

TEST(SelectiveScanCutTest, ChunksTakePlacesAsTheyGetFree) {
  constexpr double kStart = detail::kBlockStart;
  const TimeCut equal = {.piece_tiles = 4, .long_pieces = 1, .long_chunks = 2};
  EXPECT_DOUBLE_EQ(detail::finish(equal, 2, 8, 4, false), 4 + kStart);          // side by side
  EXPECT_DOUBLE_EQ(detail::finish(equal, 2, 8, 2, false), 2 * 4 + 2 * kStart);  // one behind the other
  // two long chunks of 6 on 2 of 3 places, two short ones of 3 after each other on the third
  const TimeCut mixed = {.piece_tiles = 3, .long_pieces = 2, .long_chunks = 2, .short_chunks = 2};
  EXPECT_DOUBLE_EQ(detail::finish(mixed, 1, 18, 3, false), 2 * 3 + 2 * kStart);
  // the last piece is shorter
  EXPECT_DOUBLE_EQ(detail::finish(mixed, 1, 16, 3, false), std::max(6 + kStart, 3 + 1 + 2 * kStart));
  EXPECT_GT(detail::finish(mixed, 1, 18, 3, true), detail::finish(mixed, 1, 18, 3, false));
}

TEST(SelectiveScanCutTest, TheFirstPassRunsInRounds) {
  const TimeCut cut = {.piece_tiles = 2, .long_pieces = 1, .long_chunks = 3};
  const double alone = detail::first_pass(cut, 1, {1000, 1000, 1000}),
               full = detail::first_pass(cut, 264, {132, 264, 528}),
               twice = detail::first_pass(cut, 528, {132, 264, 528});
  EXPECT_LT(alone, full);
  EXPECT_DOUBLE_EQ(twice, 2 * full);
  EXPECT_EQ(detail::first_pass({.piece_tiles = 8, .long_pieces = 1, .long_chunks = 1}, 5, kDevice), 0.);
}

TEST(SelectiveScanCutTest, TheLastAnswerIsRememberedForItsQuestionAlone) {
  const auto equal = [](const TimeCut& a, const TimeCut& b) {
    return a.piece_tiles == b.piece_tiles && a.long_pieces == b.long_pieces && a.long_chunks == b.long_chunks &&
           a.short_chunks == b.short_chunks;
  };
  struct Question {
    int64_t pairs, all_pairs, tiles;
    CutDevice device;
  };
  const Question first = {56, 56, 32, kDevice};
  // each differs from the first in one thing, and has another answer
  const Question others[] = {{24, 56, 32, kDevice},
                             {56, 320, 32, kDevice},
                             {56, 56, 100, kDevice},
                             {56, 56, 32, {132, 132, 528}},
                             {56, 56, 32, {132, 264, 64}}};
  const auto best = [](const Question& q) { return best_cut(q.pairs, q.all_pairs, q.tiles, q.device); };
  const auto remembered = [](const Question& q) { return remembered_cut(q.pairs, q.all_pairs, q.tiles, q.device); };
  for (const Question& other : others) {
    EXPECT_FALSE(equal(best(first), best(other)));
    EXPECT_TRUE(equal(remembered(first), best(first)));
    EXPECT_TRUE(equal(remembered(first), best(first)));
    EXPECT_TRUE(equal(remembered(other), best(other)));
  }
}

}  // namespace
}  // namespace mpeft::kernels::bwd
