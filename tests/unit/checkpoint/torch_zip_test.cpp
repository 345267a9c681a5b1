#include "mpeft/checkpoint/torch_zip.h"

#include <gmock/gmock.h>

#include "mpeft/checkpoint/safetensors.h"

#include "unit/checkpoint/file_builders.h"
#include "unit/checkpoint/test_tools.h"

namespace mpeft::checkpoint {
namespace {

class TorchZipGolden : public testing::TestWithParam<const char*> {};

TEST_P(TorchZipGolden, EqualsWhatPythonSavedBitForBit) {
  const std::string name = GetParam();
  expect_same_tensors(read_torch_zip(golden(name + ".bin")), read_safetensors(golden(name + ".safetensors")));
}

INSTANTIATE_TEST_SUITE_P(Files, TorchZipGolden,
                         testing::Values("every_dtype", "views", "module", "parameters", "protocol3", "protocol4",
                                         "protocol5", "no_crc"),
                         [](const auto& test) { return std::string(test.param); });

TEST(TorchZip, ViewsShareTheirStorage) {
  const TensorMap tensors = read_torch_zip(golden("views.bin"));
  EXPECT_EQ(tensors.at("tied").const_data_ptr(), tensors.at("whole").const_data_ptr());
  EXPECT_EQ(tensors.at("transposed").strides(), at::IntArrayRef({1, 6}));
  EXPECT_EQ(tensors.at("rows").storage_offset(), 6);
  EXPECT_EQ(tensors.at("every_second").strides(), at::IntArrayRef({6, 2}));
  EXPECT_EQ(tensors.at("expanded").strides(), at::IntArrayRef({0, 1}));
  EXPECT_TRUE(tensors.at("one").is_alias_of(tensors.at("whole")));
}

TEST(TorchZip, ReadsZip64Records) {
  const TemporaryFolder folder;
  const std::string body = pickle::whole(pickle::dict(
      "w", pickle::tensor(pickle::storage("FloatStorage", "0", 2), 0, pickle::tuple({2}), pickle::tuple({1}))));
  const auto path = folder.write(
      "x.bin",
      make_zip({{"a/data.pkl", body}, {"a/data/0", std::string("\0\0\x80\x3f\0\0\0\x40", 8)}}, /*zip64=*/true));
  EXPECT_TRUE(at::equal(read_torch_zip(path).at("w"), at::tensor({1.0f, 2.0f})));
}

TEST(TorchZip, TensorsOutliveTheFile) {
  const TemporaryFolder folder;
  std::filesystem::copy(golden("views.bin"), folder / "x.bin");
  const at::Tensor tensor = read_torch_zip(folder / "x.bin").at("rows");
  std::filesystem::remove(folder / "x.bin");
  EXPECT_EQ(tensor.sum().item<float>(), 6 * 12 + 66);
}

struct CorruptFile {
  const char* name;
  std::string content;
  std::string message;  // after "<dir>/x.bin: "
};

std::string whole_tensor(const std::string& storage, int64_t offset, std::vector<int64_t> sizes,
                         std::vector<int64_t> strides) {
  return pickle::whole(
      pickle::dict("w", pickle::tensor(storage, offset, pickle::tuple(sizes), pickle::tuple(strides))));
}

std::string good_pickle() { return whole_tensor(pickle::storage("FloatStorage", "0", 4), 0, {4}, {1}); }

constexpr const char* kNothingElse =
    ": only dicts of plain tensors are read and nothing of the file is executed; if you trust it, load it in Python "
    "and save "
    "{name: tensor.detach().clone()} again";

std::vector<CorruptFile> corrupt_archives() {
  const std::string good = torch_file(good_pickle());
  const auto with = [](ZipInput input) { return make_zip({{"archive/data.pkl", good_pickle()}, std::move(input)}); };
  const auto bad_directory = [&] {
    std::string file = good;
    file[file.rfind("PK\x01\x02")] = 'Q';
    return file;
  }();
  const auto bad_local = [&] {
    std::string file = good;
    file[file.find("archive/data/0")] = 'b';
    return file;
  }();
  const auto far_directory = [&] {
    std::string file = good;
    file.replace(file.size() - 6, 4, "\xff\xff\xff\x7f");
    return file;
  }();
  const auto many_entries = [&] {
    std::string file = good;
    file.replace(file.size() - 14, 4, "\xff\x7f\xff\x7f");
    return file;
  }();
  const auto bad_zip64 = [] {
    std::string file = make_zip({{"a/data.pkl", good_pickle()}}, true);
    file.replace(file.size() - 22 - 20 + 8, 8, std::string(8, '\xff'));
    return file;
  }();
  const auto evil_zip64_entry = [] {
    return make_zip({{.name = "a/data.pkl", .content = good_pickle(), .claimed_size = UINT64_MAX - 1}}, true);
  }();
  const std::string directory_at = std::to_string(good.rfind("PK\x05\x06"));
  return {
      {"Empty", "", "not a zip archive as torch.save writes them. It is empty: fetch it again."},
      {"Text", "hello", "not a zip archive as torch.save writes them."},
      {"GitLfsPointer", "version https://git-lfs.github.com/spec/v1\n",
       "not a zip archive as torch.save writes them. It is a Git LFS pointer, not the weights: `git lfs pull` in its "
       "repository, "
       "or `hf download`, fetches them."},
      {"Truncated", good.substr(0, good.size() / 2),
       "the zip archive has no directory at its end: it is truncated, fetch it again"},
      {"LastByteMissing", good.substr(0, good.size() - 1),
       "the zip archive has no directory at its end: it is truncated, fetch it again"},
      {"DirectoryCorrupt", bad_directory,
       "zip directory is corrupt at byte " + std::to_string(good.rfind("PK\x01\x02"))},
      {"DirectoryOutside", far_directory,
       "zip directory claims bytes 2147483647 + " + std::to_string(good.rfind("PK\x05\x06") - good.find("PK\x01\x02")) +
           " of a file of " + std::to_string(good.size()) + ": the file is corrupt"},
      {"TooManyEntries", many_entries,
       "zip directory of " + std::to_string(good.rfind("PK\x05\x06") - good.find("PK\x01\x02")) +
           " bytes claims 32767 entries"},
      {"Zip64RecordOutside", bad_zip64,
       "zip64 directory record not found at byte 18446744073709551615: the file is corrupt"},
      {"LocalNameDiffers", bad_local,
       "zip entry 'archive/data/0': its local header at byte " + std::to_string(good.find("archive/data/0") - 30) +
           " has another name"},
      {"Compressed", with({.name = "archive/data/0", .content = "x", .method = 8}),
       "zip entry 'archive/data/0': compressed (method 8); torch.save stores, so unpack and save again"},
      {"Encrypted", with({.name = "archive/data/0", .content = "x", .flags = 1}),
       "zip entry 'archive/data/0': encrypted entries are not supported"},
      {"ZipBomb", with({.name = "archive/data/0", .content = "x", .claimed_size = 0xfffffff0, .claimed_packed = 1}),
       "zip entry 'archive/data/0': stored in 1 bytes but 4294967280 bytes long"},
      {"SizeBeyondTheFile", with({.name = "archive/data/0", .content = "x", .claimed_size = 1000}),
       "zip entry 'archive/data/0': 1000 bytes at byte " + std::to_string(30 + 16 + good_pickle().size() + 30 + 14) +
           " reach into the directory at byte " + std::to_string(30 + 16 + good_pickle().size() + 30 + 14 + 1)},
      {"Size2To64InZip64", evil_zip64_entry,
       "zip entry 'a/data.pkl': 18446744073709551614 bytes at byte 40 reach into the directory at byte " +
           std::to_string(40 + good_pickle().size())},
      {"OffsetBeyondTheFile", with({.name = "archive/data/0", .content = "x", .claimed_offset = 0x7ffffff0}),
       "zip entry 'archive/data/0': no local header at byte 2147483632"},
      {"Overlap",
       make_zip({{"archive/data.pkl", good_pickle()},
                 {"archive/data/0", "abc"},
                 {.name = "archive/data/0", .content = "abc", .claimed_offset = 46 + good_pickle().size()}}),
       "zip entry 'archive/data/0': appears twice"},
      {"TwoStateDicts", make_zip({{"a/data.pkl", good_pickle()}, {"b/data.pkl", good_pickle()}}),
       "two state dicts, 'a' and 'b'"},
      {"NoPickle", make_zip({{"readme.txt", "hello"}}),
       "the zip archive has no data.pkl: it was not written by torch.save"},
      {"WrongChecksum", make_zip({{.name = "a/data.pkl", .content = good_pickle(), .claimed_crc = 1}}),
       "data.pkl does not match its checksum: the file is corrupt, fetch it again"},
      {"BigEndian", make_zip({{"a/data.pkl", good_pickle()}, {"a/byteorder", "big"}}),
       "byte order 'big', expected 'little'; save it again on a little-endian machine"},
      {"StorageMissing", make_zip({{"a/data.pkl", good_pickle()}}),
       "tensor 'w': its storage data/0 is not in the archive"},
      {"StorageTooShort", torch_file(good_pickle(), "1234"),
       "tensor 'w': its storage data/0 has 4 bytes, expected 4 elements of torch.FloatStorage"},
  };
}

std::vector<CorruptFile> corrupt_pickles() {
  using namespace pickle;  // NOLINT: pieces of a small language
  const auto evil = [](const std::string& module, const std::string& name) {
    return whole(global(module, name) + "(" + text("echo broken into") + "tR");
  };
  const std::string floats = storage("FloatStorage", "0", 4);
  const std::string header = "data.pkl, byte ";
  return {
      {"OsSystem", evil("os", "system"), header + "2: refused: os.system" + kNothingElse},
      {"BuiltinsEval", evil("builtins", "eval"), header + "2: refused: builtins.eval" + kNothingElse},
      {"StackGlobal",
       whole("\x8c\x08"
             "builtins\x8c\x04"
             "exec\x93)R"),
       header + "18: refused: builtins.exec" + kNothingElse},
      {"TorchLoadOfAnotherFile", evil("torch.serialization", "load"),
       header + "2: refused: torch.serialization.load" + kNothingElse},
      {"NotAStorageClass", evil("torch", "Storage.__init__Storage"),
       header + "2: refused: torch.Storage.__init__Storage" + kNothingElse},
      {"UntypedStorage", evil("torch.storage", "UntypedStorage"),
       header + "2: refused: torch.storage.UntypedStorage" + kNothingElse},
      {"InstOpcode", "\x80\x02(ios\nsystem\n.",
       header + "3: refused: opcode 0x69 ('i') is not one that a dict of tensors is written with"},
      {"Extension", "\x80\x02\x82\x01.",
       header + "2: refused: opcode 0x82 is not one that a dict of tensors is written with"},
      {"NewObject", whole(global("collections", "OrderedDict") + ")\x81"),
       header + "28: refused: opcode 0x81 is not one that a dict of tensors is written with"},
      {"CallOfAStorageClass", whole(global("torch", "FloatStorage") + ")R"),
       header + "23: refused: torch.FloatStorage is called"},
      {"CallOfAString", whole(text("os.system") + ")R"),
       header + "17: what is called is a string, expected a class or function"},
      {"HugeUnicode",
       whole("X\xff\xff\xff\xff"
             "abc"),
       header + "2: wants 4294967295 bytes, 4 are left: the file is truncated or corrupt"},
      {"HugeUnicode8",
       whole("\x8d\xff\xff\xff\xff\xff\xff\xff\xff"
             "abc"),
       header + "2: wants 18446744073709551615 bytes, 4 are left: the file is truncated or corrupt"},
      {"HugeLong", whole("\x8a\xff" + std::string(255, 'x')), header + "2: an integer of 255 bytes"},
      {"NoStop", "\x80\x02}", header + "3: wants 1 bytes, 0 are left: the file is truncated or corrupt"},
      {"EmptyPickle", "", header + "0: wants 1 bytes, 0 are left: the file is truncated or corrupt"},
      {"NewProtocol", "\x80\x06}.", header + "0: pickle protocol 6 is newer than 5"},
      {"NameWithoutEnd",
       "\x80\x02"
       "cos",
       header + "2: a name without an end"},
      {"EmptyStack", whole("0"), header + "2: takes a value from an empty stack"},
      {"NoMark", whole("t"), header + "2: there is no mark on the stack"},
      {"PopsBelowItsMark", whole("}(R"), header + "4: takes a value from an empty stack"},
      {"UnknownMemo", whole("h\x05"), header + "2: memo 5 was never set"},
      {"KeyWithoutValue", whole("}(Nu"), header + "5: a key without a value"},
      {"ItemsOfATuple", whole(")NNs"),
       header + "5: what items are set in is a tuple of 0, expected a dict of 0 entries"},
      {"MarkAtTheEnd", whole("}("), header + "4: the pickle ends with 1 values on its stack"},
      {"TwoValuesAtTheEnd", whole("}}"), header + "4: the pickle ends with 2 values on its stack"},
      {"RootIsAList", whole("]"), "holds a list of 0, expected a dict of tensors (a state dict)"},
      // l = []; l.append(l): values refer to each other by number, so it neither recurses nor leaks.
      {"CycleOfLists", whole(std::string("]q\0h\0a", 6)),
       "holds a list of 1, expected a dict of tensors (a state dict)"},
      {"KeyIsAnInt", whole("}K\x01Ns"), "a key of the state dict is an int, expected a string"},
      {"KeyIsNotUtf8", whole(dict("\xff", "N")), "key '\xEF\xBF\xBD' is not UTF-8"},
      {"ValueIsAnInt", whole(dict("epoch", "K\x03")), "key 'epoch' holds an int, not a tensor"},
      {"NameTwice",
       whole("}" + text("w") + tensor(floats, 0, tuple({1}), tuple({1})) + "s" + text("w") +
             tensor(floats, 0, tuple({1}), tuple({1})) + "s"),
       "tensor 'w' appears twice"},
      {"NegativeOffset", whole_tensor(floats, -1, {1}, {1}), "tensor 'w': offset -1 is negative"},
      {"NegativeSize", whole_tensor(floats, 0, {-4}, {1}), "tensor 'w': shape [-4] is negative or too large"},
      {"NegativeStride", whole_tensor(floats, 3, {4}, {-1}), "tensor 'w': strides [-1] are negative"},
      {"BeyondItsStorage", whole_tensor(floats, 1, {4}, {1}),
       "tensor 'w': shape [4] with strides [1] from 1 needs 4 + 1 elements of a storage of 4"},
      {"ShapeOverflows", whole_tensor(floats, 0, {INT64_MAX, 8}, {0, 0}),
       "tensor 'w': shape [9223372036854775807, 8] is negative or too large"},
      {"StrideOverflows", whole_tensor(floats, 0, {3}, {INT64_MAX}),
       "tensor 'w': strides [9223372036854775807] are too large"},
      {"ExpandedToTerabytes", whole_tensor(floats, 0, {int64_t{1} << 40}, {0}),
       "tensor 'w': shape [1099511627776] takes more bytes than the file has"},
      {"StridesMissing", whole_tensor(floats, 0, {2, 2}, {1}),
       "tensor 'w': shape [2, 2] and strides [1] differ in length"},
      {"StorageSizeWrong", whole_tensor(storage("FloatStorage", "0", 5), 0, {1}, {1}),
       "tensor 'w': its storage data/0 has 16 bytes, expected 5 elements of torch.FloatStorage"},
      {"StorageSizeNegative", whole_tensor(storage("FloatStorage", "0", -4), 0, {0}, {1}),
       "tensor 'w': its storage data/0 has 16 bytes, expected -4 elements of torch.FloatStorage"},
      {"StorageLeadsElsewhere", whole_tensor(storage("FloatStorage", "../data.pkl", 4), 0, {1}, {1}),
       "tensor 'w': its storage data/../data.pkl is not in the archive"},
      {"StorageClassUnknown", whole_tensor(storage("QInt8Storage", "0", 16), 0, {1}, {1}),
       "tensor 'w': torch.QInt8Storage is not supported"},
      {"StorageOfTwoTypes",
       whole("}" + text("a") + tensor(floats, 0, tuple({1}), tuple({1})) + "s" + text("b") +
             tensor(storage("IntStorage", "0", 4), 0, tuple({1}), tuple({1})) + "s"),
       "tensor 'b': its storage is also used as Float"},
      {"PersistentIdOfAnotherKind", whole("(" + text("module") + "NNNNtQ"),
       header + "19: a persistent id of kind 'module', expected 'storage'"},
      {"PersistentIdIsAString", whole(text("x") + "Q"),
       header + "8: a persistent id is a string, expected a tuple of 0"},
      {"TensorOfAString", whole(tensor(text("x"), 0, tuple({1}), tuple({1}))),
       header + "105: the storage of a tensor is a string, expected a storage"},
  };
}

class CorruptTorchZip : public testing::TestWithParam<CorruptFile> {};

TEST_P(CorruptTorchZip, IsAnErrorThatSaysWhat) {
  const TemporaryFolder folder;
  const auto path = folder.write("x.bin", GetParam().content);
  EXPECT_EQ(error_of(folder.path(), [&] { read_torch_zip(path); }), "<dir>/x.bin: " + GetParam().message);
}

INSTANTIATE_TEST_SUITE_P(Archives, CorruptTorchZip, testing::ValuesIn(corrupt_archives()),
                         [](const auto& test) { return test.param.name; });

class CorruptPickle : public testing::TestWithParam<CorruptFile> {};

TEST_P(CorruptPickle, IsAnErrorThatSaysWhat) {
  const TemporaryFolder folder;
  const auto path = folder.write("x.bin", torch_file(GetParam().content));
  EXPECT_EQ(error_of(folder.path(), [&] { read_torch_zip(path); }), "<dir>/x.bin: " + GetParam().message);
}

INSTANTIATE_TEST_SUITE_P(Pickles, CorruptPickle, testing::ValuesIn(corrupt_pickles()),
                         [](const auto& test) { return test.param.name; });

TEST(TorchZip, OverlappingEntriesAreRefused) {
  const TemporaryFolder folder;
  // The second entry's header and data lie inside the first one's data.
  const std::string inner = make_zip({{"a/data/1", "x"}}).substr(0, 30 + 8 + 1);
  const auto path = folder.write("x.bin", make_zip({{"a/data/0", inner},
                                                    {"a/data.pkl", good_pickle()},
                                                    {.name = "a/data/1", .content = "x", .claimed_offset = 38}}));
  EXPECT_EQ(error_of(folder.path(), [&] { read_torch_zip(path); }),
            "<dir>/x.bin: zip entries 'a/data/0' and 'a/data/1' overlap");
}

TEST(TorchZip, FilesOfPythonThatAreNotStateDictsAreExplained) {
  const auto error = [](const std::string& name) {
    return error_of(golden(""), [&] { read_torch_zip(golden(name)); });
  };
  EXPECT_EQ(
      error("nested.bin"),
      "<dir>nested.bin: key 'model' holds a dict of 1 entries, not a tensor: save the state dict alone, in Python "
      "torch.save(torch.load(path, weights_only=True)['model'], path)");
  EXPECT_EQ(
      error("legacy.bin"),
      "<dir>legacy.bin: the format of torch.save before PyTorch 1.6, which is not read here; convert it in Python: "
      "torch.save(torch.load(path, weights_only=True), path)");
  EXPECT_EQ(error("complex.bin"), "<dir>complex.bin: tensor 'w': torch.ComplexFloatStorage is not supported");
  EXPECT_EQ(error("script.bin"),
            "<dir>script.bin: a TorchScript program, not a state dict; save the weights with "
            "torch.save(module.state_dict(), path)");
  EXPECT_THAT(error("float8.bin"), testing::HasSubstr("refused: torch._utils._rebuild_tensor_v3"));
}

}  // namespace
}  // namespace mpeft::checkpoint
