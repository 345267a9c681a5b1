#include "mpeft/checkpoint/safetensors.h"

#include <sys/mman.h>

#include "unit/checkpoint/file_builders.h"
#include "unit/checkpoint/test_tools.h"

namespace mpeft::checkpoint {
namespace {

TEST(Safetensors, ReadsWhatThePythonPackageWrites) {
  const TensorMap tensors = read_safetensors(golden("every_dtype.safetensors"));
  ASSERT_EQ(tensors.size(), 14u);
  EXPECT_TRUE(at::equal(tensors.at("i64"), at::tensor({INT64_MIN, int64_t{-1}, int64_t{0}, INT64_MAX})));
  EXPECT_TRUE(at::equal(tensors.at("i16"), at::tensor({-32768, 32767, 7}, at::kShort)));
  EXPECT_TRUE(at::equal(tensors.at("bool"), at::tensor({1, 0, 1}).to(at::kBool)));
  EXPECT_TRUE(at::equal(tensors.at("f32"), tensors.at("f64").to(at::kFloat)));
  EXPECT_TRUE(at::equal(tensors.at("bf16"), tensors.at("f64").to(at::kBFloat16)));
  EXPECT_EQ(tensors.at("scalar").dim(), 0);
  EXPECT_EQ(tensors.at("scalar").item<float>(), 0.1f);
  EXPECT_EQ(tensors.at("empty").sizes(), at::IntArrayRef({0, 4}));
  EXPECT_EQ(tensors.at("Ünïcode/名").sizes(), at::IntArrayRef({2, 1, 3}));
  EXPECT_EQ(read_safetensors_metadata(golden("every_dtype.safetensors")),
            (std::map<std::string, std::string>{{"format", "pt"}}));
}

TEST(Safetensors, WritesTheSameBytesAsThePythonPackage) {
  const TemporaryFolder folder;
  for (const char* name : {"every_dtype", "views", "module", "parameters"}) {
    const auto source = golden(std::string(name) + ".safetensors");
    write_safetensors(folder / "x.safetensors", read_safetensors(source), {{"format", "pt"}});
    EXPECT_EQ(fs::read_file(folder / "x.safetensors"), fs::read_file(source)) << name;
  }
}

TEST(Safetensors, RoundTripIsBitwiseForStridedTensorsAndParameters) {
  const TemporaryFolder folder;
  TensorMap tensors = {{"t", at::arange(6, at::kFloat).view({2, 3}).t()},
                       {"slice", at::arange(10, at::kInt).slice(0, 1, 9, 3)},
                       {"expanded", at::ones({1}, at::kHalf).expand({3, 2})},
                       {"trained", at::rand({3}).set_requires_grad(true)},
                       {"odd", at::ones({3}, at::kChar)},
                       {"quote\"and\\and\nnewline", at::zeros({1})}};
  write_safetensors(folder / "a.safetensors", tensors, {{"ключ", "\x01 \"\\"}, {"b", ""}});
  expect_same_tensors(read_safetensors(folder / "a.safetensors"), tensors);
  EXPECT_EQ(read_safetensors_metadata(folder / "a.safetensors").at("ключ"), "\x01 \"\\");
  for (const auto& [name, tensor] : read_safetensors(folder / "a.safetensors")) {
    EXPECT_EQ(reinterpret_cast<uintptr_t>(tensor.const_data_ptr()) % tensor.itemsize(), 0u) << name;
  }
}

TEST(Safetensors, AnEmptyMapIsAFile) {
  const TemporaryFolder folder;
  write_safetensors(folder / "a.safetensors", {});
  EXPECT_TRUE(read_safetensors(folder / "a.safetensors").empty());
}

TEST(Safetensors, TensorsOutliveTheFileAndItsReplacement) {
  const TemporaryFolder folder;
  write_safetensors(folder / "a.safetensors", {{"w", at::full({1000}, 7.0)}});
  const at::Tensor tensor = read_safetensors(folder / "a.safetensors").at("w");
  write_safetensors(folder / "a.safetensors", {{"w", at::zeros({3})}});
  std::filesystem::remove(folder / "a.safetensors");
  EXPECT_EQ(tensor.sum().item<float>(), 7000.0f);
}

TEST(Safetensors, WritingToATensorLeavesTheFileAndItsNeighboursAlone) {
  const TemporaryFolder folder;
  const TensorMap tensors = {{"a", at::ones({100000})}, {"b", at::ones({100000})}, {"c", at::ones({100000})}};
  write_safetensors(folder / "a.safetensors", tensors);
  TensorMap read = read_safetensors(folder / "a.safetensors");
  read.at("b").fill_(2);
  read.erase("a");
  read.erase("c");
  EXPECT_EQ(read.at("b").sum().item<float>(), 200000.0f);
  expect_same_tensors(read_safetensors(folder / "a.safetensors"), tensors);
}

TEST(Safetensors, TensorsAtOddAddressesAreCopies) {
  const TemporaryFolder folder;
  const std::string header =
      R"({"b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"f":{"dtype":"F32","shape":[1],"data_offsets":[1,5]}})";
  const auto path = folder.write("a.safetensors", safetensors_file(header, std::string("\x07\x00\x00\x80\x3f", 5)));
  const TensorMap tensors = read_safetensors(path);
  EXPECT_EQ(tensors.at("f").item<float>(), 1.0f);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(tensors.at("f").const_data_ptr()) % 4, 0u);
}

TEST(Safetensors, WritingRefusesWhatTheFormatCannotHold) {
  const TemporaryFolder folder;
  const auto write = [&](const std::string& name, const at::Tensor& tensor) {
    return error_of(folder.path(), [&] { write_safetensors(folder / "a.safetensors", {{name, tensor}}); });
  };
  EXPECT_EQ(
      write("c", at::zeros({1}, at::kComplexFloat)),
      "<dir>/a.safetensors: tensor 'c': dtype ComplexFloat cannot be written; supported: U64, I64, F64, F32, U32, I32, "
      "BF16, F16, U16, I16, I8, U8, BOOL");
  EXPECT_EQ(write("u", at::Tensor()), "<dir>/a.safetensors: tensor 'u': the tensor is not defined");
  EXPECT_EQ(write("__metadata__", at::ones({1})),
            "<dir>/a.safetensors: tensor '__metadata__': the name is reserved by the format");
  EXPECT_EQ(write("\xff", at::ones({1})), "<dir>/a.safetensors: tensor '\xEF\xBF\xBD': the name is not UTF-8");
  EXPECT_EQ(write("m", at::empty({1}, at::TensorOptions().device(at::kMeta))),
            "<dir>/a.safetensors: tensor 'm': only dense tensors with data can be written");
  EXPECT_TRUE(fs::list_folder(folder.path()).empty());
}

TEST(Safetensors, AFailedWriteLeavesTheOldFile) {
  const TemporaryFolder folder;
  write_safetensors(folder / "a.safetensors", {{"w", at::ones({2})}});
  EXPECT_NE(error_of(folder.path(),
                     [&] {
                       write_safetensors(folder / "a.safetensors", {{"w", at::Tensor()}});
                     }),
            "no error");
  EXPECT_EQ(read_safetensors(folder / "a.safetensors").at("w").numel(), 2);
}

TEST(Safetensors, TakenTensorsLeaveTheMap) {
  TensorMap tensors = {{"w", at::ones({2})}, {"v", at::ones({3}, at::kHalf)}};
  EXPECT_EQ(total_bytes(tensors), 14u);
  EXPECT_EQ(take_tensor(tensors, "w").numel(), 2);
  EXPECT_EQ(error_of({}, [&] { take_tensor(tensors, "w"); }), "tensor 'w' is not in the checkpoint");
}

struct CorruptFile {
  const char* name;
  std::string content;
  std::string message;  // after "<dir>/x.safetensors: "
};

std::string one_tensor(const std::string& fields, const std::string& data = "12345678") {
  return safetensors_file("{\"w\":{" + fields + "}}", data);
}

std::vector<CorruptFile> corrupt_files() {
  const std::string good = R"("dtype":"F32","shape":[2],"data_offsets":[0,8])";
  const auto header_only = [](const std::string& header) { return safetensors_file(header); };
  std::vector<CorruptFile> files = {
      {"Empty", "", "0 bytes are too few for a safetensors file. It is empty: fetch it again."},
      {"ShorterThanItsLength", "1234", "4 bytes are too few for a safetensors file."},
      {"HeaderLength2To63", little_endian_bytes(uint64_t{1} << 63) + "{}",
       "the header claims 9223372036854775808 bytes of 2 (limit 100000000): not a safetensors file, or a truncated "
       "one."},
      {"HeaderLengthAllOnes", little_endian_bytes(UINT64_MAX) + "{}",
       "the header claims 18446744073709551615 bytes of 2 (limit 100000000): not a safetensors file, or a truncated "
       "one."},
      {"HeaderTruncated", one_tensor(good).substr(0, 30),
       "the header claims 54 bytes of 22 (limit 100000000): not a safetensors file, or a truncated one."},
      {"GitLfsPointer", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n",
       "the header claims 2336927755350992246 bytes of 56 (limit 100000000): not a safetensors file, or a truncated "
       "one. It is "
       "a Git LFS pointer, not the weights: `git lfs pull` in its repository, or `hf download`, fetches them."},
      {"HtmlPage", "<!DOCTYPE html><html></html>",
       "the header claims 5789751444030890300 bytes of 20 (limit 100000000): not a safetensors file, or a truncated "
       "one. It is "
       "an HTML page, probably of a failed download: fetch it again."},
      {"NotJson", header_only("{'w'}"),
       "header is not valid JSON: parse error at line 1, column 2: syntax error while parsing object key - invalid "
       "literal; last "
       "read: '{''; expected string literal (is this a safetensors file?)"},
      {"NotUtf8", header_only("{\"\xff\":1}"),
       "header is not valid JSON: parse error at line 1, column 3: syntax error while parsing object key - invalid "
       "string: "
       "ill-formed UTF-8 byte; last read: '\"\xEF\xBF\xBD'; expected string literal (is this a safetensors file?)"},
      {"TextAfterTheHeader", header_only("{} x"),
       "header is not valid JSON: parse error at line 1, column 4: syntax error while parsing value - invalid literal; "
       "last "
       "read: '{} x'; expected end of input (is this a safetensors file?)"},
      {"NotAnObject", header_only("[1]"), "header holds a list, expected an object"},
      {"DeepNest", header_only(std::string(100000, '[')), "header holds a list, expected an object"},
      {"TensorIsANumber", header_only(R"({"w":3})"), "tensor 'w': found the number 3, expected an object"},
      {"MetadataIsNested", header_only(R"({"__metadata__":{"a":{}}})"),
       "__metadata__: 'a': found an object, expected a string"},
      {"MetadataTwice", header_only(R"({"__metadata__":{"a":"1","a":"2"}})"), "__metadata__: key 'a' appears twice"},
      {"DtypeIsANumber", one_tensor(R"("dtype":5)"), "tensor 'w': dtype is the number 5, expected a string"},
      {"Float8", one_tensor(R"("dtype":"F8_E4M3","shape":[8],"data_offsets":[0,8])"),
       "tensor 'w': dtype 'F8_E4M3' is not supported; supported: U64, I64, F64, F32, U32, I32, BF16, F16, U16, I16, "
       "I8, U8, BOOL"},
      {"NoShape", one_tensor(R"("dtype":"F32","data_offsets":[0,8])"), "tensor 'w': field 'shape' is missing"},
      {"UnknownField", one_tensor(good + R"(,"x":1)"), "tensor 'w': unknown field 'x'"},
      {"FieldTwice", one_tensor(good + R"(,"dtype":"F32")"), "tensor 'w': field 'dtype' appears twice"},
      {"NegativeSize", one_tensor(R"("dtype":"F32","shape":[-2],"data_offsets":[0,8])"),
       "tensor 'w': shape holds the number -2, expected whole numbers"},
      {"FractionalSize", one_tensor(R"("dtype":"F32","shape":[2.5],"data_offsets":[0,8])"),
       "tensor 'w': shape holds the number 2.5, expected whole numbers"},
      {"SizeAbove2To63", one_tensor(R"("dtype":"F32","shape":[9223372036854775808],"data_offsets":[0,8])"),
       "tensor 'w': shape holds 9223372036854775808, which is too large"},
      {"ShapeOverflows", one_tensor(R"("dtype":"F32","shape":[4294967296,4294967296,2],"data_offsets":[0,8])"),
       "tensor 'w': shape [4294967296, 4294967296, 2] is too large"},
      {"EmptyShapeOverflowsInItsStrides",
       one_tensor(R"("dtype":"F32","shape":[0,4611686018427387904,8],"data_offsets":[0,0])"),
       "tensor 'w': shape [0, 4611686018427387904, 8] is too large"},
      {"OneOffset", one_tensor(R"("dtype":"F32","shape":[2],"data_offsets":[0])"),
       "tensor 'w': data_offsets has 1 numbers, expected 2"},
      {"ThreeOffsets", one_tensor(R"("dtype":"F32","shape":[2],"data_offsets":[0,8,9])"),
       "tensor 'w': data_offsets has more than two numbers"},
      {"OffsetsRunBackwards", one_tensor(R"("dtype":"F32","shape":[2],"data_offsets":[8,0])"),
       "tensor 'w': data_offsets [8, 0] run backwards"},
      {"DataTruncated", one_tensor(good, "1234"),
       "tensor 'w': data ends at byte 8 but the file holds 4 bytes of data: it is truncated or corrupt, fetch it "
       "again"},
      {"OffsetNear2To64",
       one_tensor(R"("dtype":"F32","shape":[2],"data_offsets":[18446744073709551608,18446744073709551615])"),
       "tensor 'w': data ends at byte 18446744073709551615 but the file holds 8 bytes of data: it is truncated or "
       "corrupt, "
       "fetch it again"},
      {"ShapeAndOffsetsDiffer", one_tensor(R"("dtype":"F32","shape":[3],"data_offsets":[0,8])"),
       "tensor 'w': shape [3] of F32 takes 12 bytes but data_offsets give 8"},
      {"TensorTwice",
       safetensors_file(
           R"({"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"w":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
           "ab"),
       "tensor 'w' appears twice"},
      {"Overlap",
       safetensors_file(
           R"({"v":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"w":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})",
           "abc"),
       "tensor 'w': its data overlap those of tensor 'v'"},
      {"Hole",
       safetensors_file(
           R"({"v":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"w":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}})",
           "abc"),
       "tensor 'w': 1 bytes before it belong to no tensor"},
      {"BytesAtTheEnd", one_tensor(good, "1234567890"), "2 bytes after the last tensor belong to no tensor"},
      {"BoolOfTwo",
       one_tensor(R"("dtype":"BOOL","shape":[8],"data_offsets":[0,8])", std::string("\0\1\2\0\0\0\0\0", 8)),
       "tensor 'w': byte 2 of a bool tensor is 2, expected 0 or 1"},
      {"ControlCharactersInAName", header_only("{\"\\u001b[31m\":1}"),
       "tensor '\\x1b[31m': found the number 1, expected an object"},
  };
  return files;
}

class CorruptSafetensors : public testing::TestWithParam<CorruptFile> {};

TEST_P(CorruptSafetensors, IsAnErrorThatSaysWhat) {
  const TemporaryFolder folder;
  const auto path = folder.write("x.safetensors", GetParam().content);
  EXPECT_EQ(error_of(folder.path(), [&] { read_safetensors(path); }), "<dir>/x.safetensors: " + GetParam().message);
}

INSTANTIATE_TEST_SUITE_P(Files, CorruptSafetensors, testing::ValuesIn(corrupt_files()),
                         [](const auto& test) { return test.param.name; });

TEST(Safetensors, AMissingFileIsNamed) {
  const TemporaryFolder folder;
  EXPECT_EQ(error_of(folder.path(), [&] { read_safetensors(folder / "no.safetensors"); }),
            "<dir>/no.safetensors: cannot be opened: No such file or directory");
  EXPECT_EQ(error_of(folder.path(), [&] { read_safetensors(folder.path()); }), "<dir>: not a regular file");
}

}  // namespace
}  // namespace mpeft::checkpoint
