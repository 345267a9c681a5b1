#include "checkpoint/torch_zip_writer.h"

#include <caffe2/serialize/inline_container.h>
#include <cstring>

#include "mpeft/core/fs.h"

#include "checkpoint/messages.h"

namespace mpeft::checkpoint {
namespace {

// The operations of protocol 2 that a dict of tensors takes.
class PickleWriter {
 public:
  PickleWriter() { bytes_ = "\x80\x02"; }
  void op(char code) { bytes_ += code; }
  void global(const std::string& module, const std::string& name) { bytes_ += "c" + module + "\n" + name + "\n"; }
  void text(const std::string& value) {
    op('X');  // BINUNICODE
    little_endian(value.size(), 4);
    bytes_ += value;
  }
  void integer(int64_t value) {
    bytes_ += "\x8a\x08";  // LONG1 of 8 bytes
    little_endian(static_cast<uint64_t>(value), 8);
  }
  void integers(at::IntArrayRef values) {
    op('(');
    for (const int64_t value : values) integer(value);
    op('t');
  }
  std::string finish() {
    op('.');
    return std::move(bytes_);
  }

 private:
  void little_endian(uint64_t value, int n_bytes) {
    for (int i = 0; i < n_bytes; ++i) bytes_ += static_cast<char>((value >> (8 * i)) & 0xff);
  }
  std::string bytes_;
};

const char* storage_class(at::ScalarType dtype, const std::string& where) {
  switch (dtype) {
    case at::kFloat:
      return "FloatStorage";
    case at::kHalf:
      return "HalfStorage";
    case at::kBFloat16:
      return "BFloat16Storage";
    default:
      fail(where, ": ", c10::toString(dtype), " is not written: fp32, fp16 and bf16 are");
  }
}

// torch._utils._rebuild_tensor_v2(storage, offset, size, stride, requires_grad, backward_hooks)
void write_tensor(PickleWriter& pickle, const at::Tensor& tensor, const std::string& key, const std::string& where) {
  pickle.global("torch._utils", "_rebuild_tensor_v2");
  pickle.op('(');
  pickle.op('(');
  pickle.text("storage");
  pickle.global("torch", storage_class(tensor.scalar_type(), where));
  pickle.text(key);
  pickle.text("cpu");
  pickle.integer(tensor.numel());
  pickle.op('t');
  pickle.op('Q');  // BINPERSID
  pickle.integer(0);
  pickle.integers(tensor.sizes());
  pickle.integers(tensor.strides());
  pickle.op('\x89');  // False
  pickle.global("collections", "OrderedDict");
  pickle.op(')');
  pickle.op('R');
  pickle.op('t');
  pickle.op('R');
}

}  // namespace

void write_torch_zip(const std::filesystem::path& path, const TensorMap& tensors) {
  std::vector<at::Tensor> storages;  // by key
  std::map<const void*, size_t> key_of;
  PickleWriter pickle;
  pickle.op('}');
  pickle.op('(');
  for (const auto& [name, original] : tensors) {
    const at::Tensor tensor = original.detach().cpu().contiguous();
    const auto [it, is_new] = key_of.emplace(tensor.const_data_ptr(), storages.size());
    if (is_new) storages.push_back(tensor);
    pickle.text(name);
    write_tensor(pickle, tensor, std::to_string(it->second), path.string() + ": " + name);
  }
  pickle.op('u');
  const std::string object = pickle.finish();
  try {
    caffe2::serialize::PyTorchStreamWriter zip(path.string());
    zip.writeRecord("data.pkl", object.data(), object.size());
    zip.writeRecord("byteorder", "little", 6);
    for (size_t i = 0; i < storages.size(); ++i)
      zip.writeRecord("data/" + std::to_string(i), storages[i].const_data_ptr(), storages[i].nbytes());
    zip.writeEndOfFile();
  } catch (const c10::Error& e) {
    fail(path.string(), ": cannot be written: ", e.what_without_backtrace());
  }
}

}  // namespace mpeft::checkpoint
