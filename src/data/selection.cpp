#include "data/selection.h"

#include <algorithm>

#include "mpeft/core/error.h"
#include "mpeft/core/strings.h"

namespace mpeft::data {
namespace {

constexpr uint64_t kSubsetSeed = 0;

std::vector<SourceRecord> pick(std::vector<SourceRecord>& records, const std::vector<int64_t>& indices) {
  std::vector<SourceRecord> picked;
  picked.reserve(indices.size());
  for (const int64_t i : indices) picked.push_back(std::move(records[static_cast<size_t>(i)]));
  return picked;
}

SourceRecords select_tvt(const DatasetSource& source, Split split) {
  if (split == Split::kTest) return source.read(Split::kValidation);
  auto records = source.read(Split::kTrain);
  const auto parts = source.tvt_split(static_cast<int64_t>(records.records.size()));
  records.records = pick(records.records, split == Split::kTrain ? parts.train : parts.test);
  return records;
}

}  // namespace

SplitIndices DatasetSource::tvt_split(int64_t n) const {
  return numpy_train_test_split(n, /*test_size=*/0.2, kTvtSeed);
}

Slice make_slice(const config::Node& node) {
  Slice slice;
  if (!node.is_present() || node.is_null()) return slice;
  constexpr int64_t kMax = int64_t{1} << 32;
  const auto first = node["first"], last = node["last"], range = node["range"];
  if (first.is_present() + last.is_present() + range.is_present() != 1) {
    node.problem("expected one of {first: N}, {last: N}, {range: [begin, end]}");
    return slice;
  }
  if (range.is_present()) {
    const auto ends = range.items();
    if (ends.size() != 2) {
      range.problem("expected [begin, end]");
      return slice;
    }
    slice = {Slice::Kind::kRange, ends[0].as_int_in(0, 0, kMax), ends[1].as_int_in(1, 1, kMax)};
    if (slice.begin >= slice.end)
      range.problem(str("is empty: [", slice.begin, ", ", slice.end, "), the end is not included"));
  } else if (first.is_present()) {
    slice = {Slice::Kind::kFirst, 0, first.as_int_in(1, 1, kMax)};
  } else {
    slice = {Slice::Kind::kLast, 0, last.as_int_in(1, 1, kMax)};
  }
  return slice;
}

SourceRecords select_records(const DatasetSource& source, const DatasetName& name, Split split) {
  auto records = name.tvt ? select_tvt(source, split) : source.read(split);
  std::erase_if(records.records, [](const SourceRecord& record) { return record.left_out; });
  if (name.subset > 0 && split != Split::kTest) {
    const int64_t wanted = split == Split::kTrain ? name.subset : name.subset / 10;
    auto order = python_shuffle(static_cast<int64_t>(records.records.size()), kSubsetSeed);
    order.resize(std::min(order.size(), static_cast<size_t>(wanted)));
    records.records = pick(records.records, order);
  }
  return records;
}

void apply_slice(const Slice& slice, const std::string& what, SourceRecords& records) {
  if (slice.kind == Slice::Kind::kAll) return;
  auto& list = records.records;
  const auto n = static_cast<int64_t>(list.size());
  int64_t begin = 0, end = std::min(slice.end, n);
  if (slice.kind == Slice::Kind::kLast) {
    begin = std::max<int64_t>(0, n - slice.end);
    end = n;
  } else if (slice.kind == Slice::Kind::kRange) {
    begin = slice.begin;
  }
  if (begin >= end) throw ConfigError(str("data_options.", what, ": selects none of the ", n, " records"));
  list.erase(list.begin() + end, list.end());
  list.erase(list.begin(), list.begin() + begin);
  records.notes.push_back(str(what, ": records ", begin, " to ", end - 1, " of ", n));
}

}  // namespace mpeft::data
