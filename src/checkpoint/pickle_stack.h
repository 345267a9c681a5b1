#pragma once

#include <deque>
#include <string>
#include <unordered_map>
#include <vector>

#include "checkpoint/pickle_value.h"

namespace mpeft::checkpoint {

/// Arena, stack, marks and memo of the pickle machine; every access is checked. Throws CheckpointError that begins with
/// where().
class PickleStack {
 public:
  explicit PickleStack(const std::string& path) : path_(path) {}

  /// Sets the byte of the pickle that messages name.
  void at(uint64_t byte) { byte_ = byte; }
  /// "<path>: data.pkl, byte 12: ".
  std::string where() const;

  PickleValue& value(ValueRef ref) { return arena_[ref]; }
  const PickleValue& value(ValueRef ref) const { return arena_[ref]; }

  void push(PickleValue value);
  void push_ref(ValueRef ref);
  ValueRef top() const;
  ValueRef pop();
  void mark();
  /// Pops everything above the last mark, and the mark.
  std::vector<ValueRef> pop_to_mark();
  /// The opcode POP: the top value, or a mark that lies on top.
  void pop_value_or_mark();

  void put(uint64_t index);
  void memoize() { put(memo_.size()); }
  void get(uint64_t index);
  size_t depth() const { return stack_.size(); }
  bool has_marks() const { return !marks_.empty(); }

 private:
  const std::string& path_;
  uint64_t byte_ = 0;
  std::deque<PickleValue> arena_;
  std::vector<ValueRef> stack_;
  std::vector<size_t> marks_;  ///< stack depth at each mark
  std::unordered_map<uint64_t, ValueRef> memo_;
};

}  // namespace mpeft::checkpoint
