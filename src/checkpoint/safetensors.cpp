#include "mpeft/checkpoint/safetensors.h"

#include <algorithm>
#include <tuple>

#include <ATen/core/grad_mode.h>

#include "checkpoint/dtypes.h"
#include "checkpoint/mapped_tensor.h"
#include "checkpoint/messages.h"
#include "checkpoint/safetensors_header.h"

namespace mpeft::checkpoint {
namespace {

// Name, dtype and shape of a tensor to be written, its place not yet known.
TensorEntry describe(const std::string& name, const at::Tensor& tensor, const std::string& where) {
  if (!is_valid_utf8(name)) fail(where, "the name is not UTF-8");
  if (name == "__metadata__") fail(where, "the name is reserved by the format");
  if (!tensor.defined()) fail(where, "the tensor is not defined");
  if (tensor.layout() != at::kStrided || tensor.is_meta()) fail(where, "only dense tensors with data can be written");
  if (!safetensors_name_of(tensor.scalar_type())) {
    fail(where, "dtype ", c10::toString(tensor.scalar_type()),
         " cannot be written; supported: ", known_safetensors_dtypes());
  }
  return {name, tensor.scalar_type(), tensor.sizes().vec(), 0, 0};
}

}  // namespace

TensorMap read_safetensors(const std::filesystem::path& path) {
  const SharedMap map = map_file(path);
  const SafetensorsHeader header = parse_safetensors_header(map->view(), path.string());
  TensorMap tensors;
  for (const TensorEntry& entry : header.tensors) {
    tensors.emplace(entry.name, map_tensor(map, header.data_begin + entry.begin, entry.shape, entry.dtype,
                                           str(path.string(), ": tensor ", quote(entry.name))));
  }
  return tensors;
}

std::map<std::string, std::string> read_safetensors_metadata(const std::filesystem::path& path) {
  return parse_safetensors_header(map_file(path)->view(), path.string()).metadata;
}

void write_safetensors(const std::filesystem::path& path, const TensorMap& tensors,
                       const std::map<std::string, std::string>& metadata) {
  const auto where = [&](const std::string& name) { return str(path.string(), ": tensor ", quote(name), ": "); };
  for (const auto& [key, value] : metadata) {
    if (!is_valid_utf8(key) || !is_valid_utf8(value))
      fail(path.string(), ": __metadata__: ", quote(key), " is not UTF-8");
  }
  std::vector<TensorEntry> entries;
  for (const auto& [name, tensor] : tensors) entries.push_back(describe(name, tensor, where(name)));
  std::sort(entries.begin(), entries.end(), [](const TensorEntry& a, const TensorEntry& b) {
    return std::make_tuple(safetensors_rank(a.dtype), std::string_view(a.name)) <
           std::make_tuple(safetensors_rank(b.dtype), std::string_view(b.name));
  });
  uint64_t offset = 0;
  for (TensorEntry& entry : entries) {
    entry.begin = offset;
    offset += bytes_of(entry.shape, entry.dtype).value();
    entry.end = offset;
  }

  const at::NoGradGuard no_grad;
  try {
    fs::write_file_atomic(path, [&](int fd) {
      const std::string header = format_safetensors_header(entries, metadata);
      fs::write_all(fd, header.data(), header.size(), path);
      for (const TensorEntry& entry : entries) {
        const at::Tensor data = tensors.at(entry.name).detach().to(at::kCPU).contiguous().resolve_neg();
        fs::write_all(fd, data.const_data_ptr(), entry.end - entry.begin, path);
      }
    });
  } catch (const DataError& e) {
    throw CheckpointError(e.what());
  }
}

}  // namespace mpeft::checkpoint
