#include "mpeft/checkpoint/tensor_map.h"

#include "checkpoint/messages.h"

namespace mpeft::checkpoint {

at::Tensor take_tensor(TensorMap& tensors, const std::string& name) {
  auto node = tensors.extract(name);
  if (node.empty()) fail("tensor ", quote(name), " is not in the checkpoint");
  return std::move(node.mapped());
}

uint64_t total_bytes(const TensorMap& tensors) {
  uint64_t bytes = 0;
  for (const auto& [name, tensor] : tensors) bytes += tensor.nbytes();
  return bytes;
}

}  // namespace mpeft::checkpoint
