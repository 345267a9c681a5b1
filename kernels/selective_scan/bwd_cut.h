#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

// defines: kUncutTiles, TimeCut, CutDevice, best_cut, remembered_cut
//
// Selective scan, backward: how the time of rows is cut where their blocks alone would leave a device half empty.
// Nothing of CUDA here: what comes out is arithmetic on numbers of blocks, and is tested as such.

namespace mpeft::kernels::bwd {

/// A row of so few tiles never gains by being cut: alone on its multiprocessor it takes less than a piece and what
/// cutting adds, and where more blocks than multiprocessors are left to be cut, three pieces of each do not fit. (Five
/// would be as true; measured with three.)
inline constexpr int64_t kUncutTiles = 3;

/// Of a row's tiles: long_chunks chunks of long_pieces pieces each, then short_chunks of one piece. A piece, what a
/// block of the first pass takes, is piece_tiles long; the row's last may be shorter. piece_tiles 0: not cut.
struct TimeCut {
  int64_t piece_tiles = 0, long_pieces = 1, long_chunks = 1, short_chunks = 0;

  int64_t pieces() const { return long_chunks * long_pieces + short_chunks; }
  int64_t chunks() const { return long_chunks + short_chunks; }
};

/// Multiprocessors, and for how many blocks of the main pass and of the first they have places. (Where shared memory is
/// short fewer fit: the choice is then less good.)
struct CutDevice {
  int64_t multiprocessors, places, first_pass_places;
};

namespace detail {

// In units of what the main pass takes for a tile of a block that shares its multiprocessor with another: 4.6 us of an
// H200. Fitted to the times of 1,997 cuts of 22 shapes: what they choose takes 0.6 % longer than the best cut of a
// shape on average, 3.5 % at most (README.md, what was tried), with a first pass a little slower than today's.
inline constexpr double kAlone = 0.9;        ///< a tile of a block that has a multiprocessor to itself
inline constexpr double kBlockStart = 0.88;  ///< begin and end of a block
inline constexpr double kLaunch = 3.;        ///< one more launch, the first pass, and what it leaves to be read
/// Of a block of the first pass: its begin; what a tile takes at least; and how much of its multiprocessor's time.
inline constexpr double kFirstPassStart = 0.3, kFirstPassTile = 0.22, kFirstPassShare = 0.1;
/// The partials that one more chunk leaves to the sums, for each round of blocks.
inline constexpr double kChunk = 0.15;
/// Blocks that begin together do not end together; of their length, from the first to the last.
inline constexpr double kSpread = 0.135;

/// The least that cutting adds to the longest chunk.
inline constexpr double kLeastCut = kLaunch + kFirstPassStart + kFirstPassTile;
static_assert(kUncutTiles * kAlone < 1 + kLeastCut && kUncutTiles * (1 + kSpread / 2) < 2 + kLeastCut);

/// When the last chunk is done: of each chunk the blocks of `pairs` pairs take the places, in the order of the chunks,
/// as soon as there are any. after_whole: behind the blocks of pairs that are not cut.
inline double finish(const TimeCut& cut, int64_t pairs, int64_t tiles, int64_t places, bool after_whole) {
  struct Free {
    double from;
    int64_t places;
  };
  std::vector<Free> free;
  const int64_t groups = after_whole ? std::min(places, int64_t{6}) : 1;
  for (int64_t i = 0; i < groups; ++i) {
    free.push_back({kSpread * static_cast<double>(tiles * i) / static_cast<double>(groups),
                    places * (i + 1) / groups - places * i / groups});
  }
  double end = 0.;
  for (int64_t chunk = 0; chunk < cut.chunks(); ++chunk) {
    const int64_t first =
        chunk < cut.long_chunks ? chunk * cut.long_pieces : cut.long_chunks * (cut.long_pieces - 1) + chunk;
    const int64_t pieces = chunk < cut.long_chunks ? cut.long_pieces : 1;
    const double takes = kBlockStart + static_cast<double>(std::min(tiles, (first + pieces) * cut.piece_tiles) -
                                                           first * cut.piece_tiles);
    for (int64_t left = pairs; left > 0;) {
      const auto soonest = std::min_element(free.begin(), free.end(), [](auto& a, auto& b) { return a.from < b.from; });
      const Free taken = {soonest->from + takes, std::min(left, soonest->places)};
      left -= taken.places;
      if ((soonest->places -= taken.places) == 0) free.erase(soonest);
      free.push_back(taken);
      end = std::max(end, taken.from);
    }
  }
  return end;
}

/// How long the first pass takes, of all pieces behind the first chunk: as long as the pieces of one place in the
/// rounds of what the device holds together, or as all of a multiprocessor's.
inline double first_pass(const TimeCut& cut, int64_t pairs, const CutDevice& device) {
  const int64_t blocks = pairs * (cut.pieces() - cut.long_pieces);
  const auto rounds_of = [&](int64_t together) { return static_cast<double>((blocks + together - 1) / together); };
  const double rounds = rounds_of(device.first_pass_places), shared = rounds_of(device.multiprocessors);
  return rounds * kFirstPassStart +
         static_cast<double>(cut.piece_tiles) * std::max(kFirstPassTile * rounds, kFirstPassShare * shared);
}

inline double time_uncut(int64_t pairs, int64_t all_pairs, int64_t tiles, const CutDevice& device) {
  const double length = static_cast<double>(tiles);
  return kBlockStart + length * (pairs <= device.multiprocessors ? kAlone : 1.) +
         (all_pairs > pairs ? kSpread * length / 2 : 0.);
}

inline double time_of(const TimeCut& cut, int64_t pairs, int64_t all_pairs, int64_t tiles, const CutDevice& device) {
  const double rounds = static_cast<double>(all_pairs) / static_cast<double>(device.places);
  return kLaunch + first_pass(cut, pairs, device) + finish(cut, pairs, tiles, device.places, all_pairs > pairs) +
         kChunk * static_cast<double>(cut.chunks() - 1) * rounds;
}

}  // namespace detail

/// How to cut the time, `tiles` tiles, of `pairs` of all_pairs (row, block of channels) pairs so that the last is done
/// soonest; the others, not cut, come first. pairs: 1 to device.places - 1.
inline TimeCut best_cut(int64_t pairs, int64_t all_pairs, int64_t tiles, const CutDevice& device) {
  constexpr int64_t kMostPieces = 64, kMostLongPieces = 8, kTries = 64, kFewerLong = 3, kMostShort = 24;
  TimeCut best;
  double least = detail::time_uncut(pairs, all_pairs, tiles, device);
  for (int64_t long_pieces = 1; long_pieces <= kMostLongPieces; ++long_pieces) {
    const int64_t shortest = std::max({int64_t{1}, pairs * tiles / (device.places * long_pieces), tiles / kMostPieces});
    const int64_t longest = shortest + 2 + shortest / 8;
    for (int64_t piece = shortest; piece <= longest; piece += std::max(int64_t{1}, shortest / kTries)) {
      const int64_t pieces = (tiles + piece - 1) / piece;
      if (pieces < 2 || pieces > kMostPieces) continue;
      const int64_t most_long = std::min(device.places / pairs, pieces / long_pieces);
      const int64_t fewer = long_pieces == 1 ? 1 : kFewerLong;  // long chunks of one piece are short ones
      for (int64_t long_chunks = most_long; long_chunks > std::max(int64_t{0}, most_long - fewer); --long_chunks) {
        const TimeCut cut = {piece, long_pieces, long_chunks, pieces - long_chunks * long_pieces};
        if (cut.short_chunks > kMostShort) break;
        const double time = detail::time_of(cut, pairs, all_pairs, tiles, device);
        if (time >= least) continue;
        least = time;
        best = cut;
      }
    }
  }
  return best;
}

/// The same. A training asks for the same shape at every launch, and the answer takes longer than a launch does (3 to
/// 70 us up to 2,048 steps, 0.5 ms at 65,536): so each thread remembers its last one.
inline TimeCut remembered_cut(int64_t pairs, int64_t all_pairs, int64_t tiles, const CutDevice& device) {
  using Question = std::array<int64_t, 6>;
  const Question question = {pairs, all_pairs, tiles, device.multiprocessors, device.places, device.first_pass_places};
  static thread_local Question last{};  // no question has 0 pairs
  static thread_local TimeCut answer;
  if (question != last) {
    answer = best_cut(pairs, all_pairs, tiles, device);
    last = question;
  }
  return answer;
}

}  // namespace mpeft::kernels::bwd
