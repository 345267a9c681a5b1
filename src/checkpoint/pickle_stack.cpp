#include "checkpoint/pickle_stack.h"

#include "checkpoint/messages.h"

namespace mpeft::checkpoint {
namespace {

// A state dict of 10,000 tensors takes 250,000 values.
constexpr size_t kMostValues = 8'000'000;

}  // namespace

std::string describe(const PickleValue& value) {
  switch (value.kind) {
    case ValueKind::kNone:
      return "None";
    case ValueKind::kBool:
      return "a bool";
    case ValueKind::kInt:
      return "an int";
    case ValueKind::kFloat:
      return "a float";
    case ValueKind::kString:
      return "a string";
    case ValueKind::kBytes:
      return "bytes";
    case ValueKind::kTuple:
      return str("a tuple of ", value.items.size());
    case ValueKind::kList:
      return str("a list of ", value.items.size());
    case ValueKind::kDict:
      return str("a dict of ", value.items.size() / 2, " entries");
    case ValueKind::kGlobal:
      return "a class or function";
    case ValueKind::kStorage:
      return "a storage";
    case ValueKind::kTensor:
      return "a tensor";
  }
  return "?";
}

std::string PickleStack::where() const { return str(path_, ": data.pkl, byte ", byte_, ": "); }

void PickleStack::push(PickleValue value) {
  if (arena_.size() == kMostValues) fail(where(), "more than ", kMostValues, " values");
  arena_.push_back(std::move(value));
  push_ref(static_cast<ValueRef>(arena_.size() - 1));
}

void PickleStack::push_ref(ValueRef ref) {
  if (stack_.size() == kMostValues) fail(where(), "the stack holds more than ", kMostValues, " values");
  stack_.push_back(ref);
}

ValueRef PickleStack::top() const {
  if (stack_.size() <= (marks_.empty() ? 0 : marks_.back())) fail(where(), "takes a value from an empty stack");
  return stack_.back();
}

ValueRef PickleStack::pop() {
  const ValueRef ref = top();
  stack_.pop_back();
  return ref;
}

void PickleStack::mark() {
  if (marks_.size() == kMostValues) fail(where(), "more than ", kMostValues, " marks");
  marks_.push_back(stack_.size());
}

std::vector<ValueRef> PickleStack::pop_to_mark() {
  if (marks_.empty()) fail(where(), "there is no mark on the stack");
  std::vector<ValueRef> refs(stack_.begin() + static_cast<ptrdiff_t>(marks_.back()), stack_.end());
  stack_.resize(marks_.back());
  marks_.pop_back();
  return refs;
}

void PickleStack::pop_value_or_mark() {
  if (!marks_.empty() && marks_.back() == stack_.size()) {
    marks_.pop_back();
  } else {
    pop();
  }
}

void PickleStack::put(uint64_t index) { memo_[index] = top(); }

void PickleStack::get(uint64_t index) {
  const auto found = memo_.find(index);
  if (found == memo_.end()) fail(where(), "memo ", index, " was never set");
  push_ref(found->second);
}

}  // namespace mpeft::checkpoint
