#include "checkpoint/pickle_reader.h"

#include <set>

#include "checkpoint/messages.h"
#include "checkpoint/pickle_machine.h"

namespace mpeft::checkpoint {
namespace {

std::vector<int64_t> integers(const PickleMachine& machine, ValueRef tuple) {
  std::vector<int64_t> out;
  for (const ValueRef item : machine.value(tuple).items) out.push_back(machine.value(item).number);
  return out;
}

TensorRecord to_record(const PickleMachine& machine, const std::string& name, const PickleValue& tensor) {
  const PickleValue& storage = machine.value(tensor.items[0]);
  return {name,
          std::string(storage.text),
          std::string(machine.value(storage.items[0]).text),
          storage.number,
          tensor.number,
          integers(machine, tensor.items[1]),
          integers(machine, tensor.items[2])};
}

}  // namespace

std::vector<TensorRecord> read_state_dict_pickle(std::string_view pickle, const std::string& path) {
  PickleMachine machine(pickle, path);
  const PickleValue& root = machine.value(machine.run());
  if (root.kind != ValueKind::kDict)
    fail(path, ": holds ", describe(root), ", expected a dict of tensors (a state dict)");
  std::vector<TensorRecord> records;
  std::set<std::string> names;
  for (size_t i = 0; i < root.items.size(); i += 2) {
    const PickleValue& key = machine.value(root.items[i]);
    if (key.kind != ValueKind::kString)
      fail(path, ": a key of the state dict is ", describe(key), ", expected a string");
    if (!is_valid_utf8(key.text)) fail(path, ": key ", quote(key.text), " is not UTF-8");
    const std::string name(key.text);
    const PickleValue& value = machine.value(root.items[i + 1]);
    if (value.kind == ValueKind::kDict) {
      fail(path, ": key ", quote(name), " holds ", describe(value),
           ", not a tensor: save the state dict alone, in Python ", "torch.save(torch.load(path, weights_only=True)[",
           quote(name), "], path)");
    }
    if (value.kind != ValueKind::kTensor)
      fail(path, ": key ", quote(name), " holds ", describe(value), ", not a tensor");
    if (!names.insert(name).second) fail(path, ": tensor ", quote(name), " appears twice");
    records.push_back(to_record(machine, name, value));
  }
  return records;
}

}  // namespace mpeft::checkpoint
