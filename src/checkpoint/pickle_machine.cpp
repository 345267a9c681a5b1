#include "checkpoint/pickle_machine.h"

#include "checkpoint/messages.h"

namespace mpeft::checkpoint {
namespace {

constexpr uint8_t kNewestProtocol = 5;

// Opcodes under the names of Python's pickletools.
enum Opcode : uint8_t {
  kMark = '(',
  kStop = '.',
  kPop = '0',
  kPopMark = '1',
  kDup = '2',
  kBinfloat = 'G',
  kBinint = 'J',
  kBinint1 = 'K',
  kBinint2 = 'M',
  kNone = 'N',
  kBinpersid = 'Q',
  kReduce = 'R',
  kBinstring = 'T',
  kShortBinstring = 'U',
  kBinunicode = 'X',
  kAppend = 'a',
  kBuild = 'b',
  kGlobal = 'c',
  kDict = 'd',
  kAppends = 'e',
  kBinget = 'h',
  kLongBinget = 'j',
  kList = 'l',
  kBinput = 'q',
  kLongBinput = 'r',
  kSetitem = 's',
  kTuple = 't',
  kSetitems = 'u',
  kEmptyTuple = ')',
  kEmptyList = ']',
  kEmptyDict = '}',
  kBinbytes = 'B',
  kShortBinbytes = 'C',
  kProto = 0x80,
  kTuple1 = 0x85,
  kTuple2 = 0x86,
  kTuple3 = 0x87,
  kNewtrue = 0x88,
  kNewfalse = 0x89,
  kLong1 = 0x8a,
  kShortBinunicode = 0x8c,
  kBinunicode8 = 0x8d,
  kBinbytes8 = 0x8e,
  kStackGlobal = 0x93,
  kMemoize = 0x94,
  kFrame = 0x95,
};

PickleValue scalar(ValueKind kind, int64_t number = 0) { return {kind, number, {}, {}}; }
PickleValue text_value(ValueKind kind, std::string_view text) { return {kind, 0, text, {}}; }
PickleValue container(ValueKind kind, std::vector<ValueRef> items = {}) { return {kind, 0, {}, std::move(items)}; }

std::string hex(uint8_t byte) {
  constexpr char kDigits[] = "0123456789abcdef";
  return {'0', 'x', kDigits[byte >> 4], kDigits[byte & 15]};
}

}  // namespace

ValueRef PickleMachine::run() {
  while (step()) {
  }
  if (stack_.depth() != 1 || stack_.has_marks())
    fail(stack_.where(), "the pickle ends with ", stack_.depth(), " values on its stack");
  return stack_.pop();
}

bool PickleMachine::step() {
  stack_.at(next_);
  const uint8_t opcode = static_cast<uint8_t>(take(1)[0]);
  if (opcode == kStop) return false;
  if (!step_scalar(opcode) && !step_container(opcode)) {
    const std::string shown = opcode > 0x20 && opcode < 0x7f ? str(" ('", static_cast<char>(opcode), "')") : "";
    fail(stack_.where(), "refused: opcode ", hex(opcode), shown, " is not one that a dict of tensors is written with");
  }
  return true;
}

bool PickleMachine::step_scalar(uint8_t opcode) {
  switch (opcode) {
    case kProto: {
      const uint64_t protocol = take_number(1);
      if (protocol > kNewestProtocol)
        fail(stack_.where(), "pickle protocol ", protocol, " is newer than ", int{kNewestProtocol});
      return true;
    }
    // Frames only help readers that stream.
    case kFrame:
      take_number(8);
      return true;
    case kNone:
      stack_.push(scalar(ValueKind::kNone));
      return true;
    case kNewtrue:
      stack_.push(scalar(ValueKind::kBool, 1));
      return true;
    case kNewfalse:
      stack_.push(scalar(ValueKind::kBool, 0));
      return true;
    case kBinint:
      stack_.push(scalar(ValueKind::kInt, static_cast<int32_t>(take_number(4))));
      return true;
    case kBinint1:
      stack_.push(scalar(ValueKind::kInt, static_cast<int64_t>(take_number(1))));
      return true;
    case kBinint2:
      stack_.push(scalar(ValueKind::kInt, static_cast<int64_t>(take_number(2))));
      return true;
    case kLong1:
      push_long(take(take_number(1)));
      return true;
    case kBinfloat:
      take(8), stack_.push(scalar(ValueKind::kFloat));
      return true;
    case kShortBinunicode:
      stack_.push(text_value(ValueKind::kString, take(take_number(1))));
      return true;
    case kBinunicode:
      stack_.push(text_value(ValueKind::kString, take(take_number(4))));
      return true;
    case kBinunicode8:
      stack_.push(text_value(ValueKind::kString, take(take_number(8))));
      return true;
    // Python 2 wrote its strings so.
    case kShortBinstring:
      stack_.push(text_value(ValueKind::kString, take(take_number(1))));
      return true;
    case kBinstring:
      stack_.push(text_value(ValueKind::kString, take(take_number(4))));
      return true;
    case kShortBinbytes:
      stack_.push(text_value(ValueKind::kBytes, take(take_number(1))));
      return true;
    case kBinbytes:
      stack_.push(text_value(ValueKind::kBytes, take(take_number(4))));
      return true;
    case kBinbytes8:
      stack_.push(text_value(ValueKind::kBytes, take(take_number(8))));
      return true;
    case kGlobal: {
      const std::string_view module = take_line();
      push_global(module, take_line());
      return true;
    }
    case kStackGlobal: {
      const std::string_view name = expect(stack_.pop(), ValueKind::kString, "the name of a global").text;
      push_global(expect(stack_.pop(), ValueKind::kString, "the module of a global").text, name);
      return true;
    }
    default:
      return false;
  }
}

bool PickleMachine::step_container(uint8_t opcode) {
  switch (opcode) {
    case kMark:
      stack_.mark();
      return true;
    case kPop:
      stack_.pop_value_or_mark();
      return true;
    case kPopMark:
      stack_.pop_to_mark();
      return true;
    case kDup:
      stack_.push_ref(stack_.top());
      return true;
    case kBinput:
      stack_.put(take_number(1));
      return true;
    case kLongBinput:
      stack_.put(take_number(4));
      return true;
    case kMemoize:
      stack_.memoize();
      return true;
    case kBinget:
      stack_.get(take_number(1));
      return true;
    case kLongBinget:
      stack_.get(take_number(4));
      return true;
    case kEmptyTuple:
      stack_.push(container(ValueKind::kTuple));
      return true;
    case kEmptyList:
      stack_.push(container(ValueKind::kList));
      return true;
    case kEmptyDict:
      stack_.push(container(ValueKind::kDict));
      return true;
    case kTuple:
      stack_.push(container(ValueKind::kTuple, stack_.pop_to_mark()));
      return true;
    case kList:
      stack_.push(container(ValueKind::kList, stack_.pop_to_mark()));
      return true;
    case kTuple1:
    case kTuple2:
    case kTuple3: {
      std::vector<ValueRef> items(opcode - kTuple1 + 1);
      for (size_t i = items.size(); i-- > 0;) items[i] = stack_.pop();
      stack_.push(container(ValueKind::kTuple, std::move(items)));
      return true;
    }
    case kDict: {
      const auto refs = stack_.pop_to_mark();
      stack_.push(container(ValueKind::kDict));
      set_items(stack_.top(), refs);
      return true;
    }
    case kAppend: {
      const ValueRef item = stack_.pop();
      append(stack_.top(), {item});
      return true;
    }
    case kAppends: {
      const auto refs = stack_.pop_to_mark();
      append(stack_.top(), refs);
      return true;
    }
    case kSetitem: {
      const ValueRef item = stack_.pop();
      const ValueRef key = stack_.pop();
      set_items(stack_.top(), {key, item});
      return true;
    }
    case kSetitems: {
      const auto refs = stack_.pop_to_mark();
      set_items(stack_.top(), refs);
      return true;
    }
    case kBinpersid:
      load_persistent_id();
      return true;
    case kReduce:
      reduce();
      return true;
    case kBuild:
      build();
      return true;
    default:
      return false;
  }
}

std::string_view PickleMachine::take(uint64_t n) {
  const uint64_t left = pickle_.size() - next_;
  if (n > left) fail(stack_.where(), "wants ", n, " bytes, ", left, " are left: the file is truncated or corrupt");
  const std::string_view bytes = pickle_.substr(next_, n);
  next_ += n;
  return bytes;
}

uint64_t PickleMachine::take_number(int n_bytes) {
  uint64_t value = 0;
  int shift = 0;
  for (const char byte : take(static_cast<uint64_t>(n_bytes))) {
    value |= uint64_t{static_cast<uint8_t>(byte)} << shift;
    shift += 8;
  }
  return value;
}

std::string_view PickleMachine::take_line() {
  const size_t end = pickle_.find('\n', next_);
  if (end == std::string_view::npos) fail(stack_.where(), "a name without an end");
  const std::string_view line = take(end - next_);
  take(1);
  return line;
}

void PickleMachine::push_long(std::string_view bytes) {
  if (bytes.size() > 8) fail(stack_.where(), "an integer of ", bytes.size(), " bytes");
  uint64_t value = 0;
  for (size_t i = 0; i < bytes.size(); ++i) value |= uint64_t{static_cast<uint8_t>(bytes[i])} << (8 * i);
  const bool is_negative = !bytes.empty() && (static_cast<uint8_t>(bytes.back()) & 0x80) != 0;
  if (is_negative && bytes.size() < 8) value |= ~uint64_t{0} << (8 * bytes.size());
  stack_.push(scalar(ValueKind::kInt, static_cast<int64_t>(value)));
}

void PickleMachine::append(ValueRef list, const std::vector<ValueRef>& refs) {
  expect(list, ValueKind::kList, "what is appended to");
  auto& items = stack_.value(list).items;
  items.insert(items.end(), refs.begin(), refs.end());
}

void PickleMachine::set_items(ValueRef dict, const std::vector<ValueRef>& refs) {
  expect(dict, ValueKind::kDict, "what items are set in");
  if (refs.size() % 2 != 0) fail(stack_.where(), "a key without a value");
  auto& items = stack_.value(dict).items;
  items.insert(items.end(), refs.begin(), refs.end());
}

const PickleValue& PickleMachine::expect(ValueRef ref, ValueKind kind, const char* what) const {
  const PickleValue& value = stack_.value(ref);
  if (value.kind != kind) fail(stack_.where(), what, " is ", describe(value), ", expected ", describe(scalar(kind)));
  return value;
}

}  // namespace mpeft::checkpoint
