#include "checkpoint/dtypes.h"

#include <array>

namespace mpeft::checkpoint {
namespace {

struct Row {
  at::ScalarType dtype;
  std::string_view safetensors;
  std::string_view storage_class;  // of torch; "" for dtypes that torch.save does not write with a typed storage
};

// In the order in which the safetensors package sorts what it writes.
constexpr std::array<Row, 13> kRows = {{
    {at::kUInt64, "U64", ""},
    {at::kLong, "I64", "LongStorage"},
    {at::kDouble, "F64", "DoubleStorage"},
    {at::kFloat, "F32", "FloatStorage"},
    {at::kUInt32, "U32", ""},
    {at::kInt, "I32", "IntStorage"},
    {at::kBFloat16, "BF16", "BFloat16Storage"},
    {at::kHalf, "F16", "HalfStorage"},
    {at::kUInt16, "U16", ""},
    {at::kShort, "I16", "ShortStorage"},
    {at::kChar, "I8", "CharStorage"},
    {at::kByte, "U8", "ByteStorage"},
    {at::kBool, "BOOL", "BoolStorage"},
}};

}  // namespace

std::optional<at::ScalarType> dtype_of_safetensors(std::string_view name) {
  for (const Row& row : kRows) {
    if (row.safetensors == name) return row.dtype;
  }
  return std::nullopt;
}

std::optional<std::string_view> safetensors_name_of(at::ScalarType dtype) {
  for (const Row& row : kRows) {
    if (row.dtype == dtype) return row.safetensors;
  }
  return std::nullopt;
}

int safetensors_rank(at::ScalarType dtype) {
  for (size_t i = 0; i < kRows.size(); ++i) {
    if (kRows[i].dtype == dtype) return static_cast<int>(i);
  }
  return static_cast<int>(kRows.size());
}

std::optional<at::ScalarType> dtype_of_storage_class(std::string_view name) {
  for (const Row& row : kRows) {
    if (!row.storage_class.empty() && row.storage_class == name) return row.dtype;
  }
  return std::nullopt;
}

std::string known_safetensors_dtypes() {
  std::string out;
  for (const Row& row : kRows) out += (out.empty() ? "" : ", ") + std::string(row.safetensors);
  return out;
}

}  // namespace mpeft::checkpoint
