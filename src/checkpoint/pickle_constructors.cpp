// The constructors that PickleMachine knows: what REDUCE, BUILD and persistent ids may make.
#include <array>

#include "checkpoint/dtypes.h"
#include "checkpoint/messages.h"
#include "checkpoint/pickle_machine.h"

namespace mpeft::checkpoint {
namespace {

constexpr size_t kLongestKey = 255;

struct KnownGlobal {
  std::string_view module;
  std::string_view name;
  GlobalId id;
};

constexpr std::array<KnownGlobal, 4> kKnownGlobals = {{
    {"collections", "OrderedDict", GlobalId::kOrderedDict},
    {"torch._utils", "_rebuild_tensor_v2", GlobalId::kRebuildTensor},
    {"torch._utils", "_rebuild_parameter", GlobalId::kRebuildParameter},
    {"torch._utils", "_rebuild_parameter_with_state", GlobalId::kRebuildParameterWithState},
}};

// torch.FloatStorage and the like. Which of them we read is decided where the tensor's name is known.
bool is_storage_class(std::string_view module, std::string_view name) {
  constexpr std::string_view kEnding = "Storage";
  if (module != "torch" || name.size() <= kEnding.size() || name.substr(name.size() - kEnding.size()) != kEnding)
    return false;
  for (const char c : name) {
    if (!((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))) return false;
  }
  return true;
}

PickleValue global(GlobalId id, std::string_view text = {}) {
  return {ValueKind::kGlobal, static_cast<int64_t>(id), text, {}};
}

}  // namespace

void PickleMachine::push_global(std::string_view module, std::string_view name) {
  for (const KnownGlobal& known : kKnownGlobals) {
    if (known.module == module && known.name == name) return stack_.push(global(known.id));
  }
  if (is_storage_class(module, name)) return stack_.push(global(GlobalId::kStorageClass, name));
  fail(stack_.where(), "refused: ", printable(module), ".", printable(name),
       ": only dicts of plain tensors are read and nothing of the file is executed; if you trust it, load it in Python "
       "and "
       "save {name: tensor.detach().clone()} again");
}

void PickleMachine::reduce() {
  const ValueRef arguments_ref = stack_.pop();
  const ValueRef callee = stack_.pop();
  const PickleValue& arguments = expect(arguments_ref, ValueKind::kTuple, "the arguments of a call");
  const PickleValue& function = expect(callee, ValueKind::kGlobal, "what is called");
  switch (static_cast<GlobalId>(function.number)) {
    case GlobalId::kOrderedDict:
      return make_ordered_dict(arguments);
    case GlobalId::kRebuildTensor:
      return make_tensor(arguments);
    case GlobalId::kRebuildParameter:
      return make_parameter(arguments, 3);
    case GlobalId::kRebuildParameterWithState:
      return make_parameter(arguments, 4);
    case GlobalId::kStorageClass:
      break;
  }
  fail(stack_.where(), "refused: torch.", function.text, " is called");
}

void PickleMachine::make_ordered_dict(const PickleValue& arguments) {
  std::vector<ValueRef> items;
  if (arguments.items.size() > 1) fail(stack_.where(), "OrderedDict with ", arguments.items.size(), " arguments");
  if (arguments.items.size() == 1) {  // Python 2: a list of pairs
    for (const ValueRef pair_ref : expect(arguments.items[0], ValueKind::kList, "the items of an OrderedDict").items) {
      const PickleValue& pair = stack_.value(pair_ref);
      if ((pair.kind != ValueKind::kList && pair.kind != ValueKind::kTuple) || pair.items.size() != 2) {
        fail(stack_.where(), "an item of an OrderedDict is ", describe(pair), ", expected a pair");
      }
      items.insert(items.end(), pair.items.begin(), pair.items.end());
    }
  }
  stack_.push({ValueKind::kDict, 0, {}, std::move(items)});
}

// _rebuild_tensor_v2(storage, storage_offset, size, stride, requires_grad, backward_hooks[, metadata])
void PickleMachine::make_tensor(const PickleValue& arguments) {
  const auto& items = arguments.items;
  if (items.size() != 6 && items.size() != 7) {
    fail(stack_.where(), "_rebuild_tensor_v2 with ", items.size(), " arguments, expected 6 or 7");
  }
  expect(items[0], ValueKind::kStorage, "the storage of a tensor");
  const int64_t offset = expect(items[1], ValueKind::kInt, "the offset of a tensor").number;
  for (const size_t which : {2, 3}) {
    // Checked here: a long tuple that many tensors share would be copied for each of them.
    if (stack_.value(items[which]).items.size() > kMostAxes)
      fail(stack_.where(), "a shape of more than ", kMostAxes, " axes");
    for (const ValueRef n : expect(items[which], ValueKind::kTuple, which == 2 ? "the shape" : "the strides").items) {
      expect(n, ValueKind::kInt, which == 2 ? "a size of a shape" : "a stride");
    }
  }
  stack_.push({ValueKind::kTensor, offset, {}, {items[0], items[2], items[3]}});
}

// _rebuild_parameter(data, requires_grad, backward_hooks[, state])
void PickleMachine::make_parameter(const PickleValue& arguments, size_t n_arguments) {
  if (arguments.items.size() != n_arguments) {
    fail(stack_.where(), "_rebuild_parameter with ", arguments.items.size(), " arguments, expected ", n_arguments);
  }
  expect(arguments.items[0], ValueKind::kTensor, "the data of a parameter");
  stack_.push_ref(arguments.items[0]);
}

void PickleMachine::build() {
  stack_.pop();
  // state_dict() hangs its version numbers on the OrderedDict as `_metadata`; nothing here needs them.
  expect(stack_.top(), ValueKind::kDict, "what BUILD changes");
}

// ('storage', storage class, key, location, number of elements)
void PickleMachine::load_persistent_id() {
  const PickleValue& id = expect(stack_.pop(), ValueKind::kTuple, "a persistent id");
  if (id.items.size() != 5) fail(stack_.where(), "a persistent id of ", id.items.size(), " parts, expected 5");
  const std::string_view kind = expect(id.items[0], ValueKind::kString, "the kind of a persistent id").text;
  if (kind != "storage") fail(stack_.where(), "a persistent id of kind ", quote(kind), ", expected 'storage'");
  const PickleValue& type = expect(id.items[1], ValueKind::kGlobal, "the class of a storage");
  if (type.number != static_cast<int64_t>(GlobalId::kStorageClass))
    fail(stack_.where(), "a storage without a storage class");
  if (expect(id.items[2], ValueKind::kString, "the key of a storage").text.size() > kLongestKey) {
    fail(stack_.where(), "the key of a storage is longer than ", kLongestKey, " bytes");
  }
  const int64_t n = expect(id.items[4], ValueKind::kInt, "the size of a storage").number;
  stack_.push({ValueKind::kStorage, n, type.text, {id.items[2]}});
}

}  // namespace mpeft::checkpoint
