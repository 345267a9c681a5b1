// How the backward of the selective scan cuts time: arithmetic alone, so without a GPU.
#include <map>
#include <set>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "kernels/selective_scan/bwd_cut.h"
#include "kernels/selective_scan/bwd_plan.h"

namespace mpeft::kernels::bwd {
namespace {

constexpr CutDevice kDevice = {132, 264, 528}, kByRoles = {132, 132, 264, &kRolesCosts};

constexpr CutDevice with_places(int64_t places) { return {places, places, 2 * places}; }

/// No chunk is empty, and none is longer than the row.
void expect_covers(const TimeCut& cut, int64_t tiles) {
  const int64_t rest = tiles - cut.long_chunks * cut.long_tiles;
  EXPECT_GT(tiles, (cut.long_chunks - 1) * cut.long_tiles);
  EXPECT_EQ(cut.rest_pieces > 0, rest > 0);
  EXPECT_GE(std::max(int64_t{0}, rest), cut.rest_pieces);
  EXPECT_GE(cut.long_pieces, 1);
  EXPECT_GE(cut.long_tiles, cut.long_pieces);
  EXPECT_GE(cut.chunks(), 2);
  EXPECT_LE(cut.pieces(), kMostPieces);
}

TEST(SelectiveScanCutTest, ChunksCoverEveryRow) {
  int64_t cuts = 0, joined = 0;
  for (const CutDevice& device : {kDevice, kByRoles, CutDevice{1, 2, 4}, CutDevice{108, 324, 324}}) {
    for (int64_t pairs = 1; pairs < device.places; pairs += 1 + pairs / 3) {
      for (const int64_t whole : {int64_t{0}, device.places, 20 * device.places}) {
        for (int64_t tiles = 1; tiles < 3000; tiles += 1 + tiles / 3) {  // 1, 2, 3, 5 and so on
          const TimeCut cut = best_cut(pairs, pairs + whole, tiles, device);
          if (cut.long_tiles == 0) continue;
          SCOPED_TRACE(::testing::Message() << pairs << " pairs behind " << whole << ", " << tiles << " tiles");
          ++cuts;
          expect_covers(cut, tiles);
          EXPECT_LE(cut.long_chunks * pairs, device.places);  // side by side
          EXPECT_LT(detail::time_of(cut, pairs, pairs + whole, tiles, device),
                    detail::time_uncut(pairs, pairs + whole, tiles, device));
          EXPECT_GT(tiles, kUncutTiles);  // short rows rely on it: BwdPlan::uncut_steps
          if (cut.joined_pairs == 0) continue;
          ++joined;
          EXPECT_LT(cut.joined_pairs, pairs);
          EXPECT_GE(cut.rest_pieces, 2);
          // each place that is left over takes as many rests, and there is one for each part of those that are split
          const int64_t left_over = device.places - cut.long_chunks * pairs;
          EXPECT_EQ(cut.joined_pairs % left_over, 0);
          EXPECT_LE((pairs - cut.joined_pairs) * cut.rest_pieces, left_over);
        }
      }
    }
  }
  EXPECT_GT(cuts, 500);
  EXPECT_GT(joined, 20);
}

TEST(SelectiveScanCutTest, FewRowsAreSpreadOverTheDevice) {
  const TimeCut one_row = best_cut(24, 24, 32, kDevice);  // 1536 channels, 512 steps
  EXPECT_GE(24 * one_row.chunks(), kDevice.multiprocessors);
  EXPECT_LE(24 * one_row.chunks(), kDevice.places);
  // the first of two equal parts of the time of half of the places
  const TimeCut half = best_cut(132, 132, 64, kDevice);
  EXPECT_EQ(half.chunks(), 2);
  EXPECT_EQ(half.long_chunks * half.long_tiles, 64);
}

TEST(SelectiveScanCutTest, AFullDeviceIsNotCut) {
  EXPECT_EQ(best_cut(263, 263, 128, kDevice).long_tiles, 0);
  EXPECT_EQ(best_cut(256, 256, 32, kDevice).long_tiles, 0);
}

TEST(SelectiveScanCutTest, ChunksTakePlacesAsTheyGetFree) {
  constexpr double kStart = kTilesCosts.block_start;
  const TimeCut equal = {.long_tiles = 4, .long_chunks = 2};
  EXPECT_DOUBLE_EQ(detail::finish(equal, 2, 8, with_places(4), false), 4 + kStart);          // side by side
  EXPECT_DOUBLE_EQ(detail::finish(equal, 2, 8, with_places(2), false), 2 * 4 + 2 * kStart);  // one behind the other
  EXPECT_DOUBLE_EQ(detail::finish(equal, 2, 7, with_places(2), false), 4 + 3 + 2 * kStart);  // the last is shorter
  // two long chunks of 6 on 2 of 3 places, two of the rest after each other on the third
  const TimeCut mixed = {.long_tiles = 6, .long_chunks = 2, .rest_pieces = 2};
  EXPECT_DOUBLE_EQ(detail::finish(mixed, 1, 18, with_places(3), false), 2 * 3 + 2 * kStart);
  EXPECT_GT(detail::finish(mixed, 1, 18, with_places(3), true), detail::finish(mixed, 1, 18, with_places(3), false));
  // four rests on three places: one each, and then a third of the last
  const TimeCut joined = {.long_tiles = 12, .long_chunks = 2, .rest_pieces = 3, .joined_pairs = 3};
  EXPECT_DOUBLE_EQ(detail::finish(joined, 4, 24 + 8, with_places(11), false),
                   std::max(12 + kStart, 8 + 3 + 2 * kStart));
  TimeCut split = joined;
  split.joined_pairs = 0;
  EXPECT_GT(detail::finish(split, 4, 24 + 8, with_places(11), false),
            detail::finish(joined, 4, 24 + 8, with_places(11), false));
}

TEST(SelectiveScanCutTest, TheFirstPassCountsWhatItHasToDo) {
  const TimeCut cut = {.long_tiles = 2, .long_chunks = 3};
  const CutDevice half = {66, 132, 264};
  const double all = detail::first_pass(cut, 264, 6, kDevice), on_half = detail::first_pass(cut, 264, 6, half);
  EXPECT_LT(detail::first_pass(cut, 1, 6, kDevice), all);
  EXPECT_GT(on_half,
            all + kTilesCosts.first_pass_share * 264 * 4 / 132 - 1e-9);  // each has twice the work, and more rounds
  // shorter pieces end sooner, but each costs
  TimeCut pieces = {.long_tiles = 60, .long_chunks = 2};
  const double long_piece = detail::first_pass(pieces, 24, 120, kDevice);
  pieces.long_pieces = 4;
  EXPECT_LT(detail::first_pass(pieces, 24, 120, kDevice), long_piece);
  pieces.long_pieces = 60;
  EXPECT_GT(detail::first_pass(pieces, 24, 120, kDevice),
            detail::first_pass({.long_tiles = 60, .long_pieces = 15, .long_chunks = 2}, 24, 120, kDevice));
  // of 96 pairs, 3 pieces each behind the first chunk: one round, the longest of 4 tiles, 20 tiles in all
  const TimeCut rests = {.long_tiles = 12, .long_pieces = 3, .long_chunks = 2, .rest_pieces = 2, .joined_pairs = 72};
  EXPECT_DOUBLE_EQ(detail::first_pass(rests, 96, 32, kDevice),
                   kTilesCosts.first_pass_start + 4 * kTilesCosts.first_pass_tile +
                       kTilesCosts.first_pass_share * 96 * 20 / 132 + 8 * kTilesCosts.piece);
  // one long chunk: the pieces of the rest alone
  EXPECT_DOUBLE_EQ(detail::first_pass({.long_tiles = 12, .long_chunks = 1, .rest_pieces = 2}, 96, 20, kDevice),
                   kTilesCosts.first_pass_start + 4 * kTilesCosts.first_pass_tile +
                       kTilesCosts.first_pass_share * 96 * 8 / 132 + 3 * kTilesCosts.piece);
  // nothing behind the first chunk
  EXPECT_EQ(detail::first_pass({.long_tiles = 8}, 5, 8, kDevice), 0.);
}

TEST(SelectiveScanCutTest, WhatACutCostsIsCounted) {
  const TimeCut two = {.long_tiles = 16, .long_chunks = 2};
  const double alone = detail::time_of(two, 24, 24, 32, kDevice);
  // a launch, a first pass, a start and half of the row
  EXPECT_GT(alone, kTilesCosts.launch + kTilesCosts.first_pass_start + kTilesCosts.block_start + 16);
  EXPECT_LT(alone, 32);
  EXPECT_GT(detail::time_of(two, 24, 24 + kDevice.places, 32, kDevice), alone);  // places get free one after another
  // blocks of later chunks cost beside what the longest place takes
  const TimeCut parts = {.long_tiles = 16, .long_chunks = 1, .rest_pieces = 2};
  EXPECT_NEAR(detail::overhead(parts, 24, kDevice) - detail::overhead(two, 24, kDevice),
              kTilesCosts.later_blocks * 24 / 264, 1e-12);
  const TimeCut joined = {.long_tiles = 16, .long_chunks = 1, .rest_pieces = 2, .joined_pairs = 20};
  EXPECT_NEAR(detail::overhead(joined, 24, kDevice) - detail::overhead(two, 24, kDevice),
              kTilesCosts.later_blocks * 4 / 264, 1e-12);
  // a row that is not cut begins and ends too
  EXPECT_DOUBLE_EQ(detail::time_uncut(24, 24, 32, kDevice), kTilesCosts.block_start + 32 * kTilesCosts.alone);
  EXPECT_DOUBLE_EQ(detail::time_uncut(132, 132, 32, kDevice), kTilesCosts.block_start + 32 * kTilesCosts.alone);
  EXPECT_DOUBLE_EQ(detail::time_uncut(133, 133, 32, kDevice), kTilesCosts.block_start + 32);
  EXPECT_DOUBLE_EQ(detail::time_uncut(200, 200, 32, kDevice), kTilesCosts.block_start + 32);
  EXPECT_DOUBLE_EQ(detail::time_uncut(200, 464, 32, kDevice), kTilesCosts.block_start + 32 + 16 * kTilesCosts.spread);
  const CutDevice three_a_multiprocessor = {132, 396, 528};
  EXPECT_DOUBLE_EQ(detail::time_uncut(200, 200, 32, three_a_multiprocessor),
                   kTilesCosts.block_start + 32 * (1 + kTilesCosts.alone) / 2);
}

/// What was fastest among the cuts tried on an H200, or within 1 %: a change of the model is to be measured again.
TEST(SelectiveScanCutTest, MeasuredShapesAreCutAsMeasured) {
  const auto expect = [](int64_t pairs, int64_t all_pairs, int64_t tiles, const TimeCut& measured,
                         const CutDevice& device = kDevice) {
    SCOPED_TRACE(::testing::Message() << pairs << " of " << all_pairs << " pairs, " << tiles << " tiles");
    const TimeCut cut = best_cut(pairs, all_pairs, tiles, device);
    EXPECT_EQ(cut.long_tiles, measured.long_tiles);
    EXPECT_EQ(cut.long_pieces, measured.long_pieces);
    EXPECT_EQ(cut.long_chunks, measured.long_chunks);
    EXPECT_EQ(cut.rest_pieces, measured.rest_pieces);
    EXPECT_EQ(cut.joined_pairs, measured.joined_pairs);
  };
  expect(48, 48, 32, {12, 4, 2, 3, 36}, kByRoles);  // (4, 1536, 512)
  expect(28, 160, 32, {8, 3, 3, 3, 0}, kByRoles);   // (4, 5120, 512)
  expect(24, 24, 32, {3, 1, 11, 0, 0});             // (1, 1536, 512)
  expect(96, 96, 16, {6, 2, 2, 3, 72});             // (4, 1536, 256)
  expect(96, 96, 32, {12, 4, 2, 3, 72});            // (4, 1536, 512)
  expect(96, 96, 38, {14, 4, 2, 3, 72});            // (4, 1536, 600)
  expect(96, 96, 128, {47, 4, 2, 3, 72});           // (4, 1536, 2048)
  expect(128, 128, 32, {16, 4, 2, 0, 0});           // (4, 2048, 512)
  expect(56, 320, 32, {8, 2, 2, 5, 0});             // (4, 5120, 512)
  expect(80, 80, 512, {156, 8, 3, 3, 72});          // (1, 5120, 8192)
  expect(24, 24, 5, {1, 1, 5, 0, 0});               // (1, 1536, 80)
  expect(256, 256, 128, {0, 1, 1, 0, 0});           // (4, 4096, 2048)
}

/// What the kernels do with a plan: the chunks of a pair share the steps of its row, each ends where a piece does, and
/// the first pass has all pieces behind the first chunk.
void expect_shares_time(const BwdPlan& plan, int64_t batch, int64_t length) {
  std::set<std::pair<uint32_t, uint32_t>> seen;
  std::vector<std::map<int64_t, int64_t>> spans(static_cast<size_t>(batch * plan.channel_blocks));  // first step: end
  for (uint32_t number = 0; number < plan.parts(static_cast<uint32_t>(batch)); ++number) {
    const BwdPart part = plan.part(static_cast<uint32_t>(batch), number);
    ASSERT_LT(part.row, batch);
    ASSERT_LT(part.chunk, plan.chunks());
    EXPECT_TRUE(seen.emplace(part.row, part.chunk).second);
    int64_t idle = 0;
    for (int64_t pair = part.row * plan.channel_blocks; pair < (part.row + 1) * plan.channel_blocks; ++pair) {
      const bool whole = plan.is_whole(pair, length);
      if (part.chunk >= plan.chunks_of(pair, whole)) {
        ++idle;
        continue;
      }
      const uint32_t next = plan.next_chunk(pair, whole, part.chunk);
      EXPECT_TRUE(!whole || next == plan.chunks());  // what no first pass left is not read
      const int64_t first = plan.chunk_first_step(part.chunk), end = whole ? length : plan.chunk_first_step(next);
      ASSERT_LT(first, end);
      EXPECT_EQ(first, plan.steps_of(plan.first_piece(part.chunk)).first);
      EXPECT_TRUE(whole || end == plan.steps_of(plan.first_piece(next) - 1).end);
      EXPECT_TRUE(spans[static_cast<size_t>(pair)].emplace(first, end).second);
    }
    EXPECT_LT(idle, plan.channel_blocks);  // no row of blocks without work
  }
  for (const auto& chunks : spans) {
    int64_t step = 0;
    for (const auto& [first, end] : chunks) {
      EXPECT_EQ(first, step);
      step = end;
    }
    EXPECT_GE(step, length);
  }
  uint32_t step = 0;
  for (uint32_t piece = 0; piece < plan.pieces(); ++piece) {
    const BwdSteps steps = plan.steps_of(piece);
    EXPECT_EQ(steps.first, step);
    EXPECT_LT(steps.first, steps.end);
    EXPECT_EQ(steps.first % plan.tile_steps, 0);
    step = steps.end;
  }
  EXPECT_GE(step, length);
  const bool overhangs = plan.chunk_first_step(plan.long_chunks) > length;  // the last long chunk
  EXPECT_TRUE(overhangs || step < length + plan.tile_steps);
}

TEST(SelectiveScanCutTest, TheChunksOfEveryPairShareItsTime) {
  constexpr int64_t kTile = 16;
  for (const TimeCut& cut :
       {TimeCut{.long_tiles = 5, .long_pieces = 2, .long_chunks = 2, .rest_pieces = 3},
        TimeCut{.long_tiles = 8, .long_pieces = 3, .long_chunks = 1, .rest_pieces = 1},
        TimeCut{.long_tiles = 6, .long_pieces = 1, .long_chunks = 3},
        TimeCut{.long_tiles = 5, .long_pieces = 5, .long_chunks = 2, .rest_pieces = 3, .joined_pairs = 2}}) {
    const int64_t tiles = 17;
    for (const int64_t batch : {1, 4, 9}) {
      for (const int64_t channel_blocks : {1, 3, 24}) {
        const int64_t pairs = batch * channel_blocks;
        for (int64_t cut_pairs = 1; cut_pairs <= pairs; cut_pairs += 1 + cut_pairs / 2) {
          for (int64_t joined = cut.joined_pairs; joined < cut_pairs; joined += 1 + joined / 2) {
            BwdPlan plan = plan_without_cut(batch, 64, channel_blocks, tiles * kTile - 3, kTile);
            expect_shares_time(plan, batch, tiles * kTile - 3);
            EXPECT_EQ(plan.parts(static_cast<uint32_t>(batch)), batch);
            TimeCut some_joined = cut;
            some_joined.joined_pairs = joined;
            enter_cut(plan, some_joined, pairs, cut_pairs, tiles, 65535);
            ASSERT_EQ(plan.chunks(), cut.chunks());
            expect_shares_time(plan, batch, tiles * kTile - 3);
            if (cut.joined_pairs == 0) break;
          }
        }
      }
    }
  }
}

TEST(SelectiveScanCutTest, ShortRowsOfACutPlanAreNotCut) {
  constexpr int64_t kTile = 16, kShort = kUncutTiles * kTile;
  BwdPlan plan = plan_without_cut(4, 64, 3, 20 * kTile, kTile);
  enter_cut(plan, {.long_tiles = 2, .long_chunks = 5, .rest_pieces = 5, .joined_pairs = 6}, 12, 12, 20, 65535);
  ASSERT_EQ(plan.chunks(), 10);
  for (int64_t pair = 0; pair < 12; ++pair) {
    EXPECT_TRUE(plan.is_whole(pair, kShort));
    EXPECT_FALSE(plan.is_whole(pair, kShort + 1));
  }
}

/// The first pass writes where the main pass reads: each piece of a cut row that hands something on has a place of its
/// own, and there are no others.
TEST(SelectiveScanCutTest, WhatPiecesHandOnHasAPlaceEach) {
  for (const TimeCut& cut : {TimeCut{.long_tiles = 12, .long_pieces = 2, .long_chunks = 2, .rest_pieces = 3},
                             TimeCut{.long_tiles = 32, .long_pieces = 1, .long_chunks = 1, .rest_pieces = 1},
                             TimeCut{.long_tiles = 11, .long_pieces = 3, .long_chunks = 3}}) {
    const int64_t tiles = 33;
    BwdPlan plan = plan_without_cut(5, 128, 7, tiles * 16, 16);
    EXPECT_EQ(plan.carry_rows(), 0);
    enter_cut(plan, cut, 35, 19, tiles, 65535);  // pairs 16 to 34, of rows 2 to 4
    EXPECT_EQ(plan.carry_rows(), 3 * (cut.pieces() - cut.long_pieces));
    std::set<int64_t> places;
    for (int64_t pair = 0; pair < 35; ++pair) {
      if (plan.is_whole(pair, tiles * 16)) continue;
      const auto row = static_cast<uint32_t>(pair / 7);
      EXPECT_GE(row, plan.cut.first);
      for (uint32_t piece = plan.first_piece(1); piece < plan.pieces(); ++piece)
        places.insert(plan.carry_row(piece, row));
    }
    EXPECT_EQ(static_cast<int64_t>(places.size()), plan.carry_rows());
    EXPECT_EQ(*places.begin(), 0);
    EXPECT_EQ(*places.rbegin(), plan.carry_rows() - 1);
  }
}

/// Which main pass is the faster one: measured, ms in a graph on an H200 by blocks of 64 and of 128 channels.
TEST(SelectiveScanCutTest, TheFasterKernelIsFound) {
  struct Shape {
    int64_t batch, d_inner, seqlen;
    double tiles, roles;
  };
  for (const Shape& shape :
       {Shape{4, 4096, 2048, 0.5862, 0.5191}, Shape{4, 1536, 512, 0.0747, 0.0718}, Shape{1, 5120, 8192, 0.8543, 0.7900},
        Shape{16, 2048, 320, 0.1891, 0.1727}, Shape{4, 1536, 256, 0.0412, 0.0442}, Shape{4, 2048, 64, 0.0180, 0.0233},
        Shape{1, 1536, 48, 0.0138, 0.0185}}) {
    const int64_t tiles = (shape.seqlen + 15) / 16;
    const double by_tiles = estimated_us(shape.batch * shape.d_inner / 64, tiles, kDevice),
                 by_roles = estimated_us(shape.batch * shape.d_inner / 128, tiles, kByRoles);
    SCOPED_TRACE(::testing::Message() << shape.batch << ", " << shape.d_inner << ", " << shape.seqlen);
    EXPECT_EQ(by_roles < by_tiles, shape.roles < shape.tiles);
    EXPECT_NEAR(by_tiles / (1000 * shape.tiles), 1, 0.2);
    EXPECT_NEAR(by_roles / (1000 * shape.roles), 1, 0.2);
    // asked again, and after another question
    EXPECT_EQ(estimated_us(shape.batch * shape.d_inner / 64, tiles, kDevice), by_tiles);
    EXPECT_NE(estimated_us(shape.batch * shape.d_inner / 64, tiles + 1, kDevice), by_tiles);
    EXPECT_EQ(estimated_us(shape.batch * shape.d_inner / 128, tiles, kByRoles), by_roles);
  }
}

TEST(SelectiveScanCutTest, NoCutLeavesThePlanAsItIs) {
  BwdPlan plan = plan_without_cut(4, 64, 3, 320, 16);
  enter_cut(plan, TimeCut{}, 12, 12, 20, 65535);
  EXPECT_EQ(plan.chunks(), 1);
  EXPECT_EQ(plan.whole, 12);
  expect_shares_time(plan, 4, 320);
}

TEST(SelectiveScanCutTest, LaterChunksAreOfTheRowsAloneThatHaveThem) {
  BwdPlan plan = plan_without_cut(4, 64, 24, 512, 16);
  const TimeCut cut = {.long_tiles = 12, .long_pieces = 2, .long_chunks = 2, .rest_pieces = 3, .joined_pairs = 40};
  enter_cut(plan, cut, 96, 60, 32, 65535);  // pairs 36 to 95 are cut, of rows 1 to 3; 76 to 95, of row 3, are split
  EXPECT_EQ(plan.parts(4), 4 + 2 * 3 + 2 * 1);
  uint32_t number = 0;
  for (const auto& [row, chunk] : std::vector<std::pair<uint32_t, uint32_t>>{
           {0, 0}, {1, 0}, {2, 0}, {3, 0}, {1, 1}, {2, 1}, {3, 1}, {1, 2}, {2, 2}, {3, 2}, {3, 3}, {3, 4}}) {
    const BwdPart part = plan.part(4, number++);
    EXPECT_EQ(part.row, row) << number;
    EXPECT_EQ(part.chunk, chunk) << number;
  }
}

TEST(SelectiveScanCutTest, MorePartsThanAGridHoldsAreNotMade) {
  const TimeCut cut = {.long_tiles = 1, .long_chunks = 3};
  BwdPlan plan = plan_without_cut(65000, 64, 1, 48, 16);
  enter_cut(plan, cut, 65000, 200, 3, 65399);  // 65,000 rows, and two more chunks of 200
  EXPECT_EQ(plan.chunks(), 1);
  EXPECT_EQ(plan.parts(65000), 65000);
  enter_cut(plan, cut, 65000, 200, 3, 65400);
  EXPECT_EQ(plan.chunks(), 3);
  EXPECT_EQ(plan.parts(65000), 65400);
}

TEST(SelectiveScanCutTest, ThePartsOfAFullGridAreFoundByMultiplication) {
  for (const uint32_t cut_rows : {1, 3, 7, 200, 1021, 20000, 21845}) {
    const int64_t chunks = 65535 / cut_rows;
    BwdPlan plan = plan_without_cut(cut_rows, 64, 1, chunks * 16, 16);
    enter_cut(plan, {.long_tiles = 1, .long_chunks = chunks}, cut_rows, cut_rows, chunks, 65535);
    ASSERT_EQ(plan.chunks(), chunks);
    for (uint32_t number = 0; number < plan.parts(cut_rows); ++number) {
      const BwdPart part = plan.part(cut_rows, number);
      ASSERT_EQ(part.row, number % cut_rows) << number << " of " << cut_rows << " rows";
      ASSERT_EQ(part.chunk, number / cut_rows) << number << " of " << cut_rows << " rows";
    }
  }
}

TEST(SelectiveScanCutTest, TheRememberedAnswerIsTheQuestionsOwn) {
  const auto equal = [](const TimeCut& a, const TimeCut& b) {
    return a.long_tiles == b.long_tiles && a.long_pieces == b.long_pieces && a.long_chunks == b.long_chunks &&
           a.rest_pieces == b.rest_pieces && a.joined_pairs == b.joined_pairs;
  };
  // questions that differ in one thing: where the answers do too, a wrong one shows
  int64_t different = 0;
  for (int64_t pairs = 20; pairs < 100; pairs += 9) {
    for (const int64_t whole : {int64_t{0}, kDevice.places}) {
      for (const int64_t tiles : {32, 100}) {
        for (const CutDevice& device : {kDevice, CutDevice{132, 132, 528}, CutDevice{132, 264, 64}, kByRoles}) {
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
