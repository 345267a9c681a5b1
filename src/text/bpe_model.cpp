#include "text/bpe_model.h"

#include <algorithm>
#include <functional>
#include <queue>
#include <tuple>
#include <utility>

namespace mpeft::text {
namespace {

// Up to this length the next merge is found by looking at all pairs: the ranks of a word fit in a few cache lines.
constexpr size_t kShortWord = 64;

}  // namespace

BpeModel::BpeModel(const std::array<TokenId, 256>& byte_ids, MergeTable merges)
    : byte_ids_(byte_ids), merges_(std::move(merges)) {}

void BpeModel::encode(std::string_view word, size_t readable, std::vector<TokenId>& out) const {
  const bool kept = word.size() <= WordCache::kMaxBytes;
  WordCache::Key key;
  if (kept) {
    key = WordCache::key_of(word, readable);
    if (cache_->find(key, out)) return;
  }
  const size_t begin = out.size();
  if (whole_words_.empty()) {
    word.size() <= kShortWord ? merge_short(word, out) : merge_long(word, out);
  } else if (const auto whole = whole_words_.find(std::string(word)); whole != whole_words_.end()) {
    out.push_back(whole->second);
  } else {
    word.size() <= kShortWord ? merge_short(word, out) : merge_long(word, out);
  }
  if (kept) cache_->insert(key, out.data() + begin, out.size() - begin);
}

void BpeModel::merge_short(std::string_view word, std::vector<TokenId>& out) const {
  std::array<TokenId, kShortWord> ids;
  std::array<MergeTable::Merge, kShortWord> merges;  // of ids i and i + 1
  size_t n = 0;
  for (const char c : word) {
    if (const TokenId id = byte_ids_[static_cast<unsigned char>(c)]; id >= 0) ids[n++] = id;
  }
  for (size_t i = 0; i + 1 < n; ++i) merges[i] = merges_.find(ids[i], ids[i + 1]);
  while (n > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < n; ++i) {
      if (merges[i].rank < merges[best].rank) best = i;
    }
    if (merges[best].rank == MergeTable::kNoRank) break;
    ids[best] = merges[best].id;
    for (size_t i = best + 1; i + 1 < n; ++i) {
      ids[i] = ids[i + 1];
      merges[i] = merges[i + 1];  // the last one read is stale and beyond the new end
    }
    --n;
    if (best + 1 < n) merges[best] = merges_.find(ids[best], ids[best + 1]);
    if (best > 0) merges[best - 1] = merges_.find(ids[best - 1], ids[best]);
  }
  out.insert(out.end(), ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(n));
}

void BpeModel::merge_long(std::string_view word, std::vector<TokenId>& out) const {
  // A list of symbols and a queue of possible merges: n log n, so that a hostile megabyte without a space is harmless.
  struct Symbol {
    TokenId id;
    int64_t previous, next;  // -1 at the ends
  };
  struct Candidate {
    uint32_t rank;
    int64_t left;
    TokenId left_id, right_id, merged;  // what it was made for: it is stale when one of the two has changed
    bool operator>(const Candidate& other) const { return std::tie(rank, left) > std::tie(other.rank, other.left); }
  };
  std::vector<Symbol> symbols;
  symbols.reserve(word.size());
  for (const char c : word) {
    const TokenId id = byte_ids_[static_cast<unsigned char>(c)];
    if (id < 0) continue;
    const auto i = static_cast<int64_t>(symbols.size());
    if (i > 0) symbols.back().next = i;
    symbols.push_back({id, i - 1, -1});
  }
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue;
  const auto at = [&](int64_t i) -> Symbol& { return symbols[static_cast<size_t>(i)]; };
  const auto push = [&](int64_t left) {
    if (left < 0 || at(left).next < 0) return;
    const TokenId a = at(left).id, b = at(at(left).next).id;
    const auto merge = merges_.find(a, b);
    if (merge.rank != MergeTable::kNoRank) queue.push({merge.rank, left, a, b, merge.id});
  };
  for (int64_t i = 0; i + 1 < static_cast<int64_t>(symbols.size()); ++i) push(i);
  while (!queue.empty()) {
    const Candidate top = queue.top();
    queue.pop();
    Symbol& left = at(top.left);
    if (left.id != top.left_id || left.next < 0 || at(left.next).id != top.right_id) continue;
    Symbol& right = at(left.next);
    left.id = top.merged;
    right.id = -1;  // gone: no candidate matches it any more
    left.next = right.next;
    if (left.next >= 0) at(left.next).previous = top.left;
    push(left.previous);
    push(top.left);
  }
  for (int64_t i = symbols.empty() ? -1 : 0; i >= 0; i = at(i).next) out.push_back(at(i).id);
}

}  // namespace mpeft::text
