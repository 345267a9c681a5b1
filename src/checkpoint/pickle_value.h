#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace mpeft::checkpoint {

/// Number of a value in the reader's arena. Values refer to each other by number, so a pickle that builds cycles or
/// deep nests costs neither leaks nor recursion.
using ValueRef = uint32_t;

enum class ValueKind : uint8_t {
  kNone,
  kBool,
  kInt,
  kFloat,
  kString,
  kBytes,
  kTuple,
  kList,
  kDict,     ///< items: key, value, key, value, …
  kGlobal,   ///< a constructor, `number` a GlobalId
  kStorage,  ///< text: storage class; items: key; number: count of elements
  kTensor,   ///< items: storage, sizes, strides; number: offset in elements
};

/// The constructors that a state dict may name.
enum class GlobalId : int64_t {
  kOrderedDict,
  kRebuildTensor,
  kRebuildParameter,
  kRebuildParameterWithState,
  kStorageClass,  ///< the value's text is the class name
};

struct PickleValue {
  ValueKind kind = ValueKind::kNone;
  int64_t number = 0;
  std::string_view text = {};  ///< into the pickle
  std::vector<ValueRef> items = {};
};

/// "an int", "a dict of 3 entries", … for messages.
std::string describe(const PickleValue& value);

}  // namespace mpeft::checkpoint
