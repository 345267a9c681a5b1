#include "metrics/lcs.h"

#include <algorithm>
#include <bit>

#include "mpeft/core/error.h"
#include "mpeft/core/strings.h"

// A row of the table of lengths is kept as one bit a column: whether the length stays the same there ("flat"). One row
// follows from the one above in n / 64 additions (Hyyrö, "Bit-parallel LCS-length computation revisited", 2004).
namespace mpeft::metrics {
namespace {

constexpr uint64_t kAll = ~uint64_t{0};
constexpr uint64_t kMaxTableWords = uint64_t{1} << 27;  // 1 GiB

bool is_flat(std::span<const uint64_t> flat, size_t column) { return ((flat[column / 64] >> (column % 64)) & 1) != 0; }

void set_bits(const std::vector<uint32_t>& columns, std::vector<uint64_t>& bits) {
  for (const uint32_t j : columns) bits[j / 64] |= uint64_t{1} << (j % 64);
}

/// The length at the end of the first n columns: how many of them are not flat.
size_t count_rises(std::span<const uint64_t> flat, size_t n) {
  size_t rises = 0;
  for (size_t word = 0; word < n / 64; ++word) rises += static_cast<size_t>(std::popcount(~flat[word]));
  if (n % 64 != 0) rises += static_cast<size_t>(std::popcount(~flat[n / 64] & ~(kAll << (n % 64))));
  return rises;
}

}  // namespace

LcsColumns::LcsColumns(std::span<const uint32_t> tokens) : n_(tokens.size()) {
  for (size_t j = 0; j < n_; ++j) places_[tokens[j]].columns.push_back(static_cast<uint32_t>(j));
  const size_t width = (n_ + 63) / 64;
  for (auto& [token, places] : places_) {
    if (places.columns.size() <= width) continue;  // at most 64 tokens have a mask
    places.mask.resize(width);
    set_bits(places.columns, places.mask);
  }
}

void LcsColumns::advance(uint32_t token, Bits& flat, Bits& scratch) const {
  const auto found = places_.find(token);
  if (found == places_.end()) return;
  const Places& places = found->second;
  if (places.mask.empty()) set_bits(places.columns, scratch);
  const Bits& matches = places.mask.empty() ? scratch : places.mask;
  uint64_t carry = 0;
  for (size_t word = 0; word < flat.size(); ++word) {
    const uint64_t old = flat[word];
    const uint64_t partial = old + (old & matches[word]);
    const uint64_t sum = partial + carry;
    carry = static_cast<uint64_t>(partial < old) | static_cast<uint64_t>(sum < partial);
    flat[word] = sum | (old & ~matches[word]);
  }
  if (places.mask.empty()) {
    for (const uint32_t j : places.columns) scratch[j / 64] = 0;
  }
}

size_t LcsColumns::length(std::span<const uint32_t> rows) const {
  Bits flat((n_ + 63) / 64, kAll);
  Bits scratch(flat.size());
  for (const uint32_t token : rows) advance(token, flat, scratch);
  return count_rises(flat, n_);
}

std::vector<size_t> LcsColumns::positions(std::span<const uint32_t> rows) const {
  const bool shares_token =
      std::any_of(rows.begin(), rows.end(), [&](uint32_t token) { return places_.contains(token); });
  if (!shares_token) return {};
  const size_t width = (n_ + 63) / 64;
  if ((rows.size() + 1) * width > kMaxTableWords) {
    throw DataError(str("a text of ", rows.size(), " words against one of ", n_,
                        " is too long for rougeLsum; put its sentences on lines of their own"));
  }
  Bits table((rows.size() + 1) * width, kAll);
  Bits flat(width, kAll);
  Bits scratch(width);
  const auto row = [&](size_t i) { return std::span<const uint64_t>(table).subspan(i * width, width); };
  for (size_t i = 0; i < rows.size(); ++i) {
    advance(rows[i], flat, scratch);
    std::copy(flat.begin(), flat.end(), table.begin() + static_cast<std::ptrdiff_t>((i + 1) * width));
  }

  // `here` and `above` are the lengths at (i, j) and (i - 1, j), i rows and j columns taken.
  std::vector<size_t> places;
  size_t i = rows.size();
  size_t j = n_;
  size_t here = count_rises(row(i), j);
  size_t above = i > 0 ? count_rises(row(i - 1), j) : 0;
  const auto is_match = [&] {
    const auto found = places_.find(rows[i - 1]);
    return found != places_.end() &&
           std::binary_search(found->second.columns.begin(), found->second.columns.end(), static_cast<uint32_t>(j - 1));
  };
  const auto step_up = [&] {
    --i;
    here = above;
    above = i > 0 ? count_rises(row(i - 1), j) : 0;
  };
  const auto step_left = [&] {
    --j;
    if (!is_flat(row(i), j)) --here;
    if (!is_flat(row(i - 1), j)) --above;
  };
  while (i > 0 && j > 0) {
    const size_t left = is_flat(row(i), j - 1) ? here : here - 1;
    if (is_match()) {
      places.push_back(i - 1);
      step_left();
      step_up();
    } else if (left > above) {
      step_left();
    } else {
      step_up();
    }
  }
  std::reverse(places.begin(), places.end());
  return places;
}

}  // namespace mpeft::metrics
