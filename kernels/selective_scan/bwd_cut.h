#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <vector>

// defines: kUncutTiles, TimeCut, CutCosts, kTilesCosts, kRolesCosts, CutDevice, best_cut, remembered_cut, estimated_us
//
// Selective scan, backward: how the time of rows is cut where their blocks alone would leave a device half empty.
// Nothing of CUDA here: what comes out is arithmetic on numbers of blocks, and is tested as such.

namespace mpeft::kernels::bwd {

/// Rows of so few tiles are not cut, be they alone or packed with longer ones: alone on its multiprocessor such a row
/// takes about what cutting it would.
inline constexpr int64_t kUncutTiles = 3;

/// Of a row: what BwdPlan finds a piece's chunk by is exact up to here.
inline constexpr int64_t kMostPieces = 64;

/// Of a row's tiles: long_chunks chunks of long_tiles each, the last of which may be shorter, then the rest. A long
/// chunk is long_pieces pieces for the first pass, the rest rest_pieces, each as evenly as it goes, the longer ones
/// first. The rest is one chunk in the first joined_pairs of the pairs that are cut, and in the others a chunk a piece:
/// so places that are too few for all rests take one each and then a part of one that is left. long_tiles 0: not cut.
struct TimeCut {
  int64_t long_tiles = 0, long_pieces = 1, long_chunks = 1, rest_pieces = 0, joined_pairs = 0;

  int64_t pieces() const { return long_chunks * long_pieces + rest_pieces; }
  int64_t chunks() const { return long_chunks + rest_pieces; }
};

/// What the parts of a main pass and its first pass cost, in units of what the main pass takes for a tile where all
/// places are taken. Fitted to measured cuts: what they choose takes 0.3 to 0.4 % longer than the best known cut of a
/// shape on average, 4 % at most (README.md, what was tried).
struct CutCosts {
  double unit_us;      ///< of an H200
  double alone;        ///< a tile of a block that is not cut and has a multiprocessor to itself
  double block_start;  ///< begin and end of a block
  double launch;       ///< one more launch, the first pass
  /// Of the first pass: the begin of a block; what a tile takes at least; and how much of its multiprocessor's time.
  double first_pass_start, first_pass_tile, first_pass_share;
  double piece;         ///< what a piece leaves for the chunks before it to read when they begin
  double later_blocks;  ///< what as many blocks of later chunks as there are places cost beside the last to end
  double spread;        ///< blocks that begin together do not end together; of their length, from the first to the last
};

/// bwd_kernel.cuh, by 3,900 cuts of 172 shapes, and bwd_roles.cuh, by 1,000 cuts of 84.
inline constexpr CutCosts kTilesCosts = {.unit_us = 4.7,
                                         .alone = 0.69,
                                         .block_start = 0.645,
                                         .launch = 0.54,
                                         .first_pass_start = 0.18,
                                         .first_pass_tile = 0.147,
                                         .first_pass_share = 0.069,
                                         .piece = 0.053,
                                         .later_blocks = 0.089,
                                         .spread = 0.065};
inline constexpr CutCosts kRolesCosts = {.unit_us = 3.85,
                                         .alone = 1.02,
                                         .block_start = 1.385,
                                         .launch = 1.584,
                                         .first_pass_start = 0.123,
                                         .first_pass_tile = 0.165,
                                         .first_pass_share = 0.298,
                                         .piece = 0.043,
                                         .later_blocks = 0.033,
                                         .spread = 0.045};

/// Multiprocessors, and for how many blocks of the main pass and of the first they have places. (Where shared memory is
/// short fewer fit: the choice is then less good.)
struct CutDevice {
  int64_t multiprocessors, places, first_pass_places;
  const CutCosts* costs = &kTilesCosts;

  bool operator==(const CutDevice& other) const {
    return multiprocessors == other.multiprocessors && places == other.places &&
           first_pass_places == other.first_pass_places && costs == other.costs;
  }
};

namespace detail {

/// Of `tiles` tiles shared evenly by `pieces` pieces, those of piece i.
inline int64_t share_of(int64_t tiles, int64_t pieces, int64_t i) {
  return tiles / pieces + (i < tiles % pieces ? 1 : 0);
}

/// When the last chunk is done: of each chunk the blocks of `pairs` pairs take the places, in the order of the chunks,
/// as soon as there are any. after_whole: behind the blocks of pairs that are not cut.
inline double finish(const TimeCut& cut, int64_t pairs, int64_t tiles, const CutDevice& device, bool after_whole) {
  const int64_t places = device.places;
  struct Free {
    double from;
    int64_t places;
  };
  std::vector<Free> free;
  free.reserve(32);
  const int64_t groups = after_whole ? std::min(places, int64_t{6}) : 1;
  for (int64_t i = 0; i < groups; ++i) {
    free.push_back({device.costs->spread * static_cast<double>(tiles * i) / static_cast<double>(groups),
                    places * (i + 1) / groups - places * i / groups});
  }
  double end = 0.;
  const auto take = [&](int64_t blocks, int64_t of_tiles) {
    const double takes = device.costs->block_start + static_cast<double>(of_tiles);
    while (blocks > 0) {
      const auto soonest = std::min_element(free.begin(), free.end(), [](auto& a, auto& b) { return a.from < b.from; });
      const Free taken = {soonest->from + takes, std::min(blocks, soonest->places)};
      blocks -= taken.places;
      if ((soonest->places -= taken.places) == 0) free.erase(soonest);
      free.push_back(taken);
      end = std::max(end, taken.from);
    }
  };
  int64_t rest = tiles;
  for (int64_t chunk = 0; chunk < cut.long_chunks; ++chunk) {
    take(pairs, std::min(rest, cut.long_tiles));
    rest -= std::min(rest, cut.long_tiles);
  }
  if (cut.rest_pieces > 0) take(cut.joined_pairs, rest);
  for (int64_t i = 0; i < cut.rest_pieces; ++i) take(pairs - cut.joined_pairs, share_of(rest, cut.rest_pieces, i));
  return end;
}

/// How long the first pass takes, of all pieces behind the first chunk, and the reading of what it leaves: its work
/// shared by the multiprocessors, and as they do not all end at once, its longest piece.
inline double first_pass(const TimeCut& cut, int64_t pairs, int64_t tiles, const CutDevice& device) {
  const int64_t rest = tiles - cut.long_chunks * cut.long_tiles, blocks = pairs * (cut.pieces() - cut.long_pieces);
  if (blocks == 0) return 0.;
  const int64_t longest = std::max(cut.long_chunks > 1 ? share_of(cut.long_tiles, cut.long_pieces, 0) : 0,
                                   cut.rest_pieces > 0 ? share_of(rest, cut.rest_pieces, 0) : 0);
  const double rounds = std::ceil(static_cast<double>(blocks) / static_cast<double>(device.first_pass_places));
  const double work =
      static_cast<double>(pairs * (tiles - cut.long_tiles)) / static_cast<double>(device.multiprocessors);
  const CutCosts& costs = *device.costs;
  return costs.first_pass_start * rounds + costs.first_pass_tile * static_cast<double>(longest) +
         costs.first_pass_share * work + costs.piece * static_cast<double>(cut.pieces());
}

inline double time_uncut(int64_t pairs, int64_t all_pairs, int64_t tiles, const CutDevice& device) {
  const CutCosts& costs = *device.costs;
  const double length = static_cast<double>(tiles);
  // other blocks on the fullest multiprocessor, and the most that fit beside one
  const auto others = static_cast<double>((pairs - 1) / device.multiprocessors),
             most = static_cast<double>(device.places / device.multiprocessors - 1);
  const double a_tile = most > 0. ? costs.alone + (1. - costs.alone) * others / most : costs.alone;
  return costs.block_start + length * a_tile + (all_pairs > pairs ? costs.spread * length / 2 : 0.);
}

/// What cutting adds but for the first pass itself: its launch, and for all blocks of the later chunks what they begin
/// with and leave to the sums, beside what the last to end waits for.
inline double overhead(const TimeCut& cut, int64_t pairs, const CutDevice& device) {
  const int64_t of_rest = cut.rest_pieces == 0 ? 0 : cut.joined_pairs + (pairs - cut.joined_pairs) * cut.rest_pieces;
  const int64_t blocks = pairs * (cut.long_chunks - 1) + of_rest;
  return device.costs->launch +
         device.costs->later_blocks * static_cast<double>(blocks) / static_cast<double>(device.places);
}

inline double time_of(const TimeCut& cut, int64_t pairs, int64_t all_pairs, int64_t tiles, const CutDevice& device) {
  return overhead(cut, pairs, device) + first_pass(cut, pairs, tiles, device) +
         finish(cut, pairs, tiles, device, all_pairs > pairs);
}

/// Calls consider(cut) for cuts that differ in what the main pass does (long_pieces is 1): long chunks from as long as
/// what a place has to do on average, as many as there are places for or a few less, the rest in each pair in some
/// pieces or joined in as many pairs as the places left over take one after the other.
template <typename F>
void for_each_cut(int64_t pairs, int64_t tiles, int64_t places, const F& consider) {
  constexpr int64_t kMostRest = 8, kMostPartsOfJoined = 24, kFewerLong = 3;
  const int64_t average = std::max({int64_t{1}, pairs * tiles / places, (tiles + kMostPieces - 1) / kMostPieces});
  for (int64_t more = 0; more <= 2 + average / 4 && average + more < tiles; more += std::max(int64_t{1}, more / 2)) {
    const int64_t length = average + more, most_chunks = std::min(places / pairs, (tiles + length - 1) / length);
    for (int64_t chunks = most_chunks; chunks > std::max(int64_t{0}, most_chunks - kFewerLong); --chunks) {
      TimeCut cut = {.long_tiles = length, .long_chunks = chunks};
      const int64_t rest = tiles - chunks * length;
      if (rest <= 0) {
        if (chunks > 1) consider(cut);
        continue;
      }
      for (cut.rest_pieces = 1; cut.rest_pieces <= std::min(rest, kMostRest); ++cut.rest_pieces) consider(cut);
      const int64_t left_over = places - chunks * pairs;
      if (left_over <= 0 || left_over >= pairs || pairs % left_over == 0) continue;
      const int64_t split = pairs % left_over;
      cut.rest_pieces = std::min({left_over / split, rest, kMostPartsOfJoined});
      cut.joined_pairs = pairs - split;
      if (cut.rest_pieces > 1) consider(cut);
    }
  }
}

}  // namespace detail

/// How to cut the time, `tiles` tiles, of `pairs` of all_pairs (row, block of channels) pairs so that the last is done
/// soonest; the others, not cut, come first. pairs: 1 to device.places - 1.
inline TimeCut best_cut(int64_t pairs, int64_t all_pairs, int64_t tiles, const CutDevice& device) {
  constexpr int64_t kMostLongPieces = 8;
  constexpr double kWorthCutting = 0.985;  // a gain of less is less than what the estimates are off by
  TimeCut best;
  if (tiles <= kUncutTiles) return best;
  double least = kWorthCutting * detail::time_uncut(pairs, all_pairs, tiles, device);
  detail::for_each_cut(pairs, tiles, device.places, [&](TimeCut cut) {
    const double main_pass =
        detail::overhead(cut, pairs, device) + detail::finish(cut, pairs, tiles, device, all_pairs > pairs);
    for (; cut.long_pieces <= std::min(cut.long_tiles, kMostLongPieces) && cut.pieces() <= kMostPieces;
         ++cut.long_pieces) {
      const double time = main_pass + detail::first_pass(cut, pairs, tiles, device);
      if (time >= least) continue;
      least = time;
      best = cut;
    }
  });
  return best;
}

namespace detail {

struct CutQuestion {
  int64_t pairs = 0, all_pairs = 0, tiles = 0;  // all_pairs is never 0
  CutDevice device{};

  bool operator==(const CutQuestion& other) const {
    return pairs == other.pairs && all_pairs == other.all_pairs && tiles == other.tiles && device == other.device;
  }
};

/// find() for `question`. A training asks for the same shape at every launch, and the answer takes longer than a launch
/// does (up to 0.1 ms for 2,048 steps, 1 ms for 65,536): so each thread remembers its last one of each kernel.
template <typename Answer, typename Find>
Answer remembered(const CutQuestion& question, const Find& find) {
  static thread_local std::array<CutQuestion, 2> last;
  static thread_local std::array<Answer, 2> answer;
  const size_t of_kernel = question.device.costs == &kRolesCosts ? 1 : 0;
  if (!(question == last[of_kernel])) {
    answer[of_kernel] = find();
    last[of_kernel] = question;
  }
  return answer[of_kernel];
}

}  // namespace detail

/// best_cut, remembered.
inline TimeCut remembered_cut(int64_t pairs, int64_t all_pairs, int64_t tiles, const CutDevice& device) {
  return detail::remembered<TimeCut>({pairs, all_pairs, tiles, device},
                                     [&] { return best_cut(pairs, all_pairs, tiles, device); });
}

/// What the whole backward of all_pairs pairs takes, in us of an H200, but for the launches that all have: rounds of
/// blocks, then the pairs that are cut. To compare kernels by; remembered.
inline double estimated_us(int64_t all_pairs, int64_t tiles, const CutDevice& device) {
  const int64_t pairs = all_pairs % device.places;
  return detail::remembered<double>({pairs, all_pairs, tiles, device}, [&] {
    const CutCosts& costs = *device.costs;
    double time = static_cast<double>(all_pairs / device.places) * (costs.block_start + static_cast<double>(tiles));
    if (pairs > 0) {
      const TimeCut cut = remembered_cut(pairs, all_pairs, tiles, device);
      time += cut.long_tiles == 0 ? detail::time_uncut(pairs, all_pairs, tiles, device)
                                  : detail::time_of(cut, pairs, all_pairs, tiles, device);
    }
    return time * costs.unit_us;
  });
}

}  // namespace mpeft::kernels::bwd
