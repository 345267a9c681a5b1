#pragma once

#include <string>
#include <string_view>

#include "checkpoint/pickle_stack.h"

namespace mpeft::checkpoint {

/// Runs the opcodes of a pickle until STOP.
class PickleMachine {
 public:
  PickleMachine(std::string_view pickle, const std::string& path) : pickle_(pickle), stack_(path) {}

  /// The value on the stack at STOP.
  ValueRef run();
  const PickleValue& value(ValueRef ref) const { return stack_.value(ref); }

 private:
  bool step();  // false at STOP
  bool step_scalar(uint8_t opcode);
  bool step_container(uint8_t opcode);

  std::string_view take(uint64_t n);
  uint64_t take_number(int n_bytes);  // little endian, unsigned
  std::string_view take_line();
  void push_long(std::string_view bytes);
  void push_global(std::string_view module, std::string_view name);
  void append(ValueRef list, const std::vector<ValueRef>& refs);
  void set_items(ValueRef dict, const std::vector<ValueRef>& refs);
  void reduce();
  void build();
  void load_persistent_id();
  void make_ordered_dict(const PickleValue& arguments);
  void make_tensor(const PickleValue& arguments);
  void make_parameter(const PickleValue& arguments, size_t n_arguments);
  const PickleValue& expect(ValueRef ref, ValueKind kind, const char* what) const;

  std::string_view pickle_;
  uint64_t next_ = 0;
  PickleStack stack_;
};

}  // namespace mpeft::checkpoint
