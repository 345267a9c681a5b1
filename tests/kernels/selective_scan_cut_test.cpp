// How the backward of the selective scan cuts time: arithmetic alone, so without a GPU.
#include <set>
#include <utility>

#include <gtest/gtest.h>

#include "kernels/selective_scan/bwd_cut.h"
#include "kernels/selective_scan/bwd_plan.h"

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
  for (const CutDevice& device : {kDevice, CutDevice{1, 2, 4}, CutDevice{108, 324, 324}}) {
    for (int64_t pairs = 1; pairs < device.places; pairs += 1 + pairs / 3) {
      for (const int64_t whole : {int64_t{0}, device.places, 20 * device.places}) {
        for (int64_t tiles = 1; tiles < 3000; tiles += 1 + tiles / 2) {
          const TimeCut cut = best_cut(pairs, pairs + whole, tiles, device);
          if (cut.piece_tiles == 0) continue;
          SCOPED_TRACE(::testing::Message() << pairs << " pairs behind " << whole << ", " << tiles << " tiles");
          ++cuts;
          expect_covers(cut, tiles);
          EXPECT_LE(cut.long_chunks * pairs, device.places);  // side by side
          EXPECT_LT(detail::time_of(cut, pairs, pairs + whole, tiles, device),
                    detail::time_uncut(pairs, pairs + whole, tiles, device));
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

TEST(SelectiveScanCutTest, WhatACutCostsIsCounted) {
  const TimeCut two = {.piece_tiles = 16, .long_pieces = 1, .long_chunks = 2};
  const double alone = detail::time_of(two, 24, 24, 32, kDevice);
  // a launch, a first pass, a start and half of the row
  EXPECT_GT(alone, detail::kLaunch + detail::kFirstPassStart + detail::kBlockStart + 16);
  EXPECT_LT(alone, 32);
  // behind rounds of pairs that are not cut, each of which leaves partials of one more chunk
  const auto behind = [&](int64_t rounds) {
    return detail::time_of(two, 24, 24 + rounds * kDevice.places, 32, kDevice);
  };
  EXPECT_GT(behind(1), alone);
  EXPECT_NEAR(behind(9) - behind(1), 8 * detail::kChunk, 1e-9);
  EXPECT_GT(behind(9), behind(1));
  // a row that is not cut begins and ends too
  EXPECT_DOUBLE_EQ(detail::time_uncut(24, 24, 32, kDevice), detail::kBlockStart + 32 * detail::kAlone);
  EXPECT_DOUBLE_EQ(detail::time_uncut(200, 200, 32, kDevice), detail::kBlockStart + 32);
}

/// What was fastest among the plans tried on an H200, or within 1 %: a change of the model is to be measured again.
TEST(SelectiveScanCutTest, MeasuredShapesAreCutAsMeasured) {
  const auto expect = [](int64_t pairs, int64_t all_pairs, int64_t tiles, int64_t longest, int64_t chunks) {
    SCOPED_TRACE(::testing::Message() << pairs << " of " << all_pairs << " pairs, " << tiles << " tiles");
    const TimeCut cut = best_cut(pairs, all_pairs, tiles, kDevice);
    EXPECT_EQ(cut.piece_tiles * cut.long_pieces, longest);
    EXPECT_EQ(cut.chunks(), chunks);
  };
  expect(24, 24, 32, 3, 11);    // (1, 1536, 512)
  expect(96, 96, 16, 6, 4);     // (4, 1536, 256)
  expect(96, 96, 32, 12, 4);    // (4, 1536, 512)
  expect(96, 96, 38, 14, 4);    // (4, 1536, 600)
  expect(96, 96, 128, 48, 5);   // (4, 1536, 2048)
  expect(128, 128, 32, 16, 2);  // (4, 2048, 512)
  expect(56, 320, 32, 9, 7);    // (4, 5120, 512)
  expect(80, 80, 512, 156, 5);  // (1, 5120, 8192)
}

TEST(SelectiveScanCutTest, EveryPartIsOneChunkOfOneRow) {
  for (const int64_t batch : {1, 4, 9}) {
    for (const int64_t channel_blocks : {1, 3, 24}) {
      for (int64_t cut_pairs = 1; cut_pairs <= batch * channel_blocks; cut_pairs += 1 + cut_pairs / 2) {
        BwdPlan plan{};
        plan.channel_blocks = channel_blocks;
        plan.chunks = 1;
        EXPECT_EQ(plan.parts(batch), batch);
        enter_cut(plan, {.piece_tiles = 2, .long_pieces = 2, .long_chunks = 2, .short_chunks = 3},
                  batch * channel_blocks, cut_pairs, 65535);
        ASSERT_EQ(plan.chunks, 5);
        std::set<std::pair<int64_t, int>> seen;
        for (int64_t number = 0; number < plan.parts(batch); ++number) {
          const BwdPart part = plan.part(batch, number);
          EXPECT_LT(part.row, batch);
          EXPECT_LT(part.chunk, 5);
          // later chunks: of the rows alone that have a pair that is cut
          EXPECT_TRUE(part.chunk == 0 || plan.whole < (part.row + 1) * channel_blocks);
          EXPECT_TRUE(seen.emplace(part.row, part.chunk).second);
        }
        const int64_t cut_rows = (cut_pairs + channel_blocks - 1) / channel_blocks;
        EXPECT_EQ(static_cast<int64_t>(seen.size()), batch + 4 * cut_rows);
      }
    }
  }
}

TEST(SelectiveScanCutTest, MorePartsThanAGridHoldsAreNotMade) {
  const TimeCut cut = {.piece_tiles = 1, .long_pieces = 1, .long_chunks = 3};
  BwdPlan plan{};
  plan.channel_blocks = plan.chunks = 1;
  enter_cut(plan, cut, 65000, 200, 65399);  // 65,000 rows, and two more chunks of 200
  EXPECT_EQ(plan.chunks, 1);
  EXPECT_EQ(plan.parts(65000), 65000);
  enter_cut(plan, cut, 65000, 200, 65400);
  EXPECT_EQ(plan.chunks, 3);
  EXPECT_EQ(plan.parts(65000), 65400);
}

TEST(SelectiveScanCutTest, ThePartsOfAFullGridAreFoundByMultiplication) {
  for (const int64_t cut_rows : {1, 3, 7, 200, 1021, 20000, 21845}) {
    const int64_t later_chunks = 65535 / cut_rows - 1;
    BwdPlan plan{};
    plan.channel_blocks = plan.chunks = 1;
    const TimeCut cut = {.piece_tiles = 1, .long_pieces = 1, .long_chunks = 1, .short_chunks = later_chunks};
    enter_cut(plan, cut, cut_rows, cut_rows, 65535);
    ASSERT_EQ(plan.chunks, 1 + later_chunks);
    for (int64_t number = 0; number < plan.parts(cut_rows); ++number) {
      const BwdPart part = plan.part(cut_rows, number);
      ASSERT_EQ(part.row, number % cut_rows) << number << " of " << cut_rows << " rows";
      ASSERT_EQ(part.chunk, number / cut_rows) << number << " of " << cut_rows << " rows";
    }
  }
}

TEST(SelectiveScanCutTest, TheRememberedAnswerIsTheQuestionsOwn) {
  const auto equal = [](const TimeCut& a, const TimeCut& b) {
    return a.piece_tiles == b.piece_tiles && a.long_pieces == b.long_pieces && a.long_chunks == b.long_chunks &&
           a.short_chunks == b.short_chunks;
  };
  // questions that differ in one thing: where the answers do too, a wrong one shows
  int64_t different = 0;
  for (int64_t pairs = 20; pairs < 100; pairs += 9) {
    for (const int64_t whole : {int64_t{0}, kDevice.places}) {
      for (const int64_t tiles : {32, 100}) {
        for (const CutDevice& device : {kDevice, CutDevice{132, 132, 528}, CutDevice{132, 264, 64}}) {
          const TimeCut before = remembered_cut(56, 56, 32, kDevice);
          const TimeCut best = best_cut(pairs, pairs + whole, tiles, device);
          different += equal(before, best) ? 0 : 1;
          EXPECT_TRUE(equal(remembered_cut(pairs, pairs + whole, tiles, device), best));
          EXPECT_TRUE(equal(remembered_cut(pairs, pairs + whole, tiles, device), best));
        }
      }
    }
  }
  EXPECT_GT(different, 50);
}

}  // namespace
}  // namespace mpeft::kernels::bwd
