#include "checkpoint/mapped_tensor.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <sys/mman.h>
#include <unistd.h>

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include "checkpoint/messages.h"

namespace mpeft::checkpoint {
namespace {

// Below this the system call costs more than the pages.
constexpr uint64_t kSmallestRelease = 1U << 16;

// Drops the pages of a range from the resident set; only whole ones, since a neighbour may have written to the first or
// the last.
void release_pages(const uint8_t* begin, uint64_t size) {
  if (size < kSmallestRelease) return;
  static const uintptr_t page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const uintptr_t first = (reinterpret_cast<uintptr_t>(begin) + page - 1) / page * page;
  const uintptr_t last = (reinterpret_cast<uintptr_t>(begin) + size) / page * page;
  ::madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
}

void check_bools(const uint8_t* bytes, uint64_t size, const std::string& what) {
  // Any other byte in a bool is undefined behaviour in every kernel that reads it.
  const auto* end = bytes + size;
  const auto* bad = std::find_if(bytes, end, [](uint8_t byte) { return byte > 1; });
  if (bad != end) fail(what, ": byte ", bad - bytes, " of a bool tensor is ", int{*bad}, ", expected 0 or 1");
}

}  // namespace

SharedMap map_file(const std::filesystem::path& path) {
  try {
    auto map = std::make_shared<const fs::MappedFile>(path);
    // Parameters may be these very tensors, and an optimizer writes to them: the map is private, so the process gets
    // its own copy of a page that it writes to and the file stays as it is.
    if (map->size() > 0 && ::mprotect(const_cast<uint8_t*>(map->data()), map->size(), PROT_READ | PROT_WRITE) != 0) {
      fail(path.string(), ": cannot be mapped for writing: ", std::strerror(errno));
    }
    return map;
  } catch (const DataError& e) {
    throw CheckpointError(e.what());
  }
}

at::Tensor map_tensor(const SharedMap& map, uint64_t begin, const std::vector<int64_t>& shape, at::ScalarType dtype,
                      const std::string& what) {
  const uint64_t size = bytes_of(shape, dtype).value();
  if (size == 0) return at::empty(shape, dtype);
  const uint8_t* bytes = map->data() + begin;
  if (dtype == at::kBool) check_bools(bytes, size, what);
  if (reinterpret_cast<uintptr_t>(bytes) % c10::elementSize(dtype) != 0) {
    at::Tensor copy = at::empty(shape, dtype);
    std::memcpy(copy.data_ptr(), bytes, size);
    release_pages(bytes, size);
    return copy;
  }
  return at::from_blob(
      const_cast<uint8_t*>(bytes), shape, [map, bytes, size](void*) { release_pages(bytes, size); }, dtype);
}

std::optional<uint64_t> bytes_of(const std::vector<int64_t>& shape, at::ScalarType dtype) {
  // Counted with at least 1 for each axis, as strides are: a shape like [0, 2^62, 8] overflows in them.
  int64_t extent = static_cast<int64_t>(c10::elementSize(dtype));
  bool is_empty = false;
  for (const int64_t n : shape) {
    if (n < 0 || __builtin_mul_overflow(extent, std::max<int64_t>(n, 1), &extent)) return std::nullopt;
    is_empty = is_empty || n == 0;
  }
  return is_empty ? 0 : static_cast<uint64_t>(extent);
}

}  // namespace mpeft::checkpoint
