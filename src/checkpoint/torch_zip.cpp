#include "mpeft/checkpoint/torch_zip.h"

#include <algorithm>

#include <ATen/ops/empty.h>

#include "checkpoint/dtypes.h"
#include "checkpoint/mapped_tensor.h"
#include "checkpoint/messages.h"
#include "checkpoint/pickle_reader.h"
#include "checkpoint/zip_directory.h"

namespace mpeft::checkpoint {
namespace {

constexpr uint64_t kLargestPickle = uint64_t{64} << 20;
constexpr std::string_view kPickleName = "/data.pkl";

bool is_legacy(std::string_view file) {
  // Before PyTorch 1.6: the pickle of a magic number, or a tar archive.
  return (file.size() >= 2 && file[0] == '\x80' && static_cast<uint8_t>(file[1]) <= 5) ||
         (file.size() >= 262 && file.substr(257, 5) == "ustar");
}

void check_is_zip(std::string_view file, const std::string& path) {
  if (file.substr(0, 4) == "PK\x03\x04") return;
  if (is_legacy(file)) {
    fail(path,
         ": the format of torch.save before PyTorch 1.6, which is not read here; convert it in Python: "
         "torch.save(torch.load(path, weights_only=True), path)");
  }
  fail(path, ": not a zip archive as torch.save writes them.", guess_what_it_is(file));
}

// An archive with the checks that make it one of torch.save.
class TorchArchive {
 public:
  TorchArchive(SharedMap map, std::string path) : map_(std::move(map)), path_(std::move(path)) {
    check_is_zip(map_->view(), path_);
    entries_ = read_zip_directory(map_->view(), path_);
    for (const auto& [name, entry] : entries_) {
      const size_t slash = name.find('/');
      if (slash == std::string::npos || std::string_view(name).substr(slash) != kPickleName) continue;
      if (!root_.empty()) fail(path_, ": two state dicts, ", quote(root_), " and ", quote(name.substr(0, slash)));
      root_ = name.substr(0, slash);
    }
    if (root_.empty()) fail(path_, ": the zip archive has no data.pkl: it was not written by torch.save");
    if (find("constants.pkl") != nullptr) {
      fail(path_,
           ": a TorchScript program, not a state dict; save the weights with torch.save(module.state_dict(), path)");
    }
    for (const auto& [name, entry] : entries_) {
      if (entry.method != 0) {
        fail(path_, ": zip entry ", quote(name), ": compressed (method ", entry.method,
             "); torch.save stores, so unpack and save again");
      }
    }
    check_byte_order();
  }

  std::string_view pickle() const {
    const ZipEntry& entry = *find("data.pkl");
    if (entry.size > kLargestPickle) fail(path_, ": data.pkl of ", entry.size, " bytes, limit ", kLargestPickle);
    const std::string_view bytes = text(entry);
    // 0: torch.serialization.set_crc32_options(False) was in force.
    if (entry.crc != 0 && crc32(bytes) != entry.crc) {
      fail(path_, ": data.pkl does not match its checksum: the file is corrupt, fetch it again");
    }
    return bytes;
  }

  /// Null when there is no such file.
  const ZipEntry* find(const std::string& name) const {
    const auto found = entries_.find(root_ + "/" + name);
    return found == entries_.end() ? nullptr : &found->second;
  }

  const SharedMap& map() const { return map_; }
  const std::string& path() const { return path_; }

 private:
  std::string_view text(const ZipEntry& entry) const { return map_->view().substr(entry.begin, entry.size); }

  void check_byte_order() const {
    const ZipEntry* entry = find("byteorder");
    if (entry != nullptr && text(*entry) != "little") {
      fail(path_, ": byte order ", quote(text(*entry)),
           ", expected 'little'; save it again on a little-endian machine");
    }
  }

  SharedMap map_;
  std::string path_;
  std::map<std::string, ZipEntry> entries_;
  std::string root_;
};

// Elements of the storage that the view reaches, 0 for an empty one; checks everything that as_strided takes on trust.
int64_t reach_of(const TensorRecord& record, at::ScalarType dtype, uint64_t file_bytes, const std::string& where) {
  if (record.sizes.size() != record.strides.size()) {
    fail(where, "shape ", shape_text(record.sizes), " and strides ", shape_text(record.strides), " differ in length");
  }
  const auto bytes = bytes_of(record.sizes, dtype);
  if (!bytes) fail(where, "shape ", shape_text(record.sizes), " is negative or too large");
  if (record.offset < 0) fail(where, "offset ", record.offset, " is negative");
  if (*bytes == 0) return 0;
  // An expanded tensor (stride 0) of any size fits a storage of one element; whoever copies it pays.
  if (*bytes > file_bytes) fail(where, "shape ", shape_text(record.sizes), " takes more bytes than the file has");
  int64_t last = record.offset;
  for (size_t i = 0; i < record.sizes.size(); ++i) {
    int64_t step = 0;
    if (record.strides[i] < 0) fail(where, "strides ", shape_text(record.strides), " are negative");
    if (__builtin_mul_overflow(record.sizes[i] - 1, record.strides[i], &step) ||
        __builtin_add_overflow(last, step, &last)) {
      fail(where, "strides ", shape_text(record.strides), " are too large");
    }
  }
  if (last >= record.storage_elements) {
    fail(where, "shape ", shape_text(record.sizes), " with strides ", shape_text(record.strides), " from ",
         record.offset, " needs ", last, " + 1 elements of a storage of ", record.storage_elements);
  }
  return last + 1;
}

class StorageMap {
 public:
  explicit StorageMap(const TorchArchive& archive) : archive_(archive) {}

  at::Tensor view(const TensorRecord& record) {
    const std::string where = str(archive_.path(), ": tensor ", quote(record.name), ": ");
    const auto dtype = dtype_of_storage_class(record.storage_class);
    if (!dtype) fail(where, "torch.", record.storage_class, " is not supported");
    const int64_t reach = reach_of(record, *dtype, archive_.map()->size(), where);
    const at::Tensor& all = storage(record, *dtype, where);
    if (reach == 0) return at::empty(record.sizes, *dtype);
    return all.as_strided(record.sizes, record.strides, record.offset);
  }

 private:
  // The whole storage as one row of elements.
  const at::Tensor& storage(const TensorRecord& record, at::ScalarType dtype, const std::string& where) {
    const ZipEntry* entry = archive_.find("data/" + record.storage_key);
    if (entry == nullptr) fail(where, "its storage data/", printable(record.storage_key), " is not in the archive");
    const std::vector<int64_t> shape = {record.storage_elements};
    const auto bytes = bytes_of(shape, dtype);
    if (!bytes || *bytes != entry->size) {
      fail(where, "its storage data/", printable(record.storage_key), " has ", entry->size, " bytes, expected ",
           record.storage_elements, " elements of torch.", record.storage_class);
    }
    auto& known = storages_[record.storage_key];
    if (!known.defined()) known = map_tensor(archive_.map(), entry->begin, shape, dtype, where + "storage");
    if (known.scalar_type() != dtype) fail(where, "its storage is also used as ", c10::toString(known.scalar_type()));
    return known;
  }

  const TorchArchive& archive_;
  std::map<std::string, at::Tensor> storages_;
};

}  // namespace

TensorMap read_torch_zip(const std::filesystem::path& path) {
  const TorchArchive archive(map_file(path), path.string());
  StorageMap storages(archive);
  TensorMap tensors;
  for (const TensorRecord& record : read_state_dict_pickle(archive.pickle(), path.string())) {
    tensors.emplace(record.name, storages.view(record));
  }
  return tensors;
}

}  // namespace mpeft::checkpoint
