// Small valid files of every kind, damaged at random (with a fixed seed): each must be read or be a CheckpointError,
// and what is read must be safe to touch. The sanitizer build runs this too.
#include <functional>

#include "mpeft/checkpoint/adapter_folder.h"
#include "mpeft/checkpoint/model_folder.h"
#include "mpeft/checkpoint/safetensors.h"
#include "mpeft/checkpoint/torch_zip.h"
#include "mpeft/checkpoint/training_folder.h"
#include "mpeft/core/random.h"
#include "mpeft/core/strings.h"

#include "unit/checkpoint/file_builders.h"
#include "unit/checkpoint/test_tools.h"

namespace mpeft::checkpoint {
namespace {

constexpr int kMutations = 600;  // of each file

// One to four damages: a flipped bit, a byte of a value that readers trip over, a cut, a piece copied or inserted.
std::string mutate(std::string bytes, Random& random) {
  const uint64_t n_damages = 1 + random.below(4);
  for (uint64_t i = 0; i < n_damages && !bytes.empty(); ++i) {
    const uint64_t at = random.below(bytes.size());
    switch (random.below(6)) {
      case 0:
        bytes[at] = static_cast<char>(bytes[at] ^ (1 << random.below(8)));
        break;
      case 1:
        bytes[at] = static_cast<char>(random.below(256));
        break;
      case 2: {
        constexpr unsigned char kTrouble[] = {0x00, 0x7f, 0x80, 0xff, '(', '.', '"', '{', '['};
        for (uint64_t k = at; k < std::min<uint64_t>(bytes.size(), at + 1 + random.below(8)); ++k) {
          bytes[k] = static_cast<char>(kTrouble[random.below(sizeof kTrouble)]);
        }
        break;
      }
      case 3:
        bytes.resize(at);
        break;
      case 4:
        bytes.insert(at, bytes.substr(random.below(bytes.size()), 1 + random.below(16)));
        break;
      default:
        bytes.erase(at, 1 + random.below(16));
        break;
    }
  }
  return bytes;
}

// Reads every element, as a user of the tensors would.
void touch(const TensorMap& tensors) {
  for (const auto& [name, tensor] : tensors) {
    const std::string bytes = bytes_in_order(tensor);
    ASSERT_EQ(bytes.size(), tensor.nbytes()) << name;
  }
}

struct Outcome {
  int read = 0;
  int refused = 0;
};

Outcome fuzz(const std::filesystem::path& file, const std::string& valid, uint64_t seed,
             const std::function<void()>& read) {
  Random random(seed);
  Outcome outcome;
  for (int i = 0; i < kMutations; ++i) {
    // Written in place: 10,000 syncs of an atomic write would take minutes.
    const std::string bytes = mutate(valid, random);
    FILE* out = std::fopen(file.c_str(), "wb");
    std::fwrite(bytes.data(), 1, bytes.size(), out);
    std::fclose(out);
    try {
      read();
      ++outcome.read;
    } catch (const CheckpointError& e) {
      EXPECT_TRUE(is_valid_utf8(e.what()));
      ++outcome.refused;
    } catch (const std::exception& e) {
      ADD_FAILURE() << "mutation " << i << " of " << file << ": " << e.what();
    }
  }
  return outcome;
}

class FuzzFile : public testing::TestWithParam<const char*> {};

TEST_P(FuzzFile, IsReadOrRefusedButNeverCrashes) {
  const TemporaryFolder folder;
  const std::string valid = fs::read_file(golden(GetParam()));
  const bool is_safetensors = std::string(GetParam()).find(".safetensors") != std::string::npos;
  const auto file = folder / "x";
  const Outcome outcome =
      fuzz(file, valid, 7, [&] { touch(is_safetensors ? read_safetensors(file) : read_torch_zip(file)); });
  EXPECT_EQ(outcome.read + outcome.refused, kMutations);
  EXPECT_GT(outcome.refused, kMutations / 4);
}

INSTANTIATE_TEST_SUITE_P(Golden, FuzzFile,
                         testing::Values("every_dtype.safetensors", "views.safetensors", "every_dtype.bin", "views.bin",
                                         "module.bin", "protocol4.bin", "nested.bin", "legacy.bin", "script.bin"),
                         [](const auto& test) {
                           std::string name = test.param;
                           std::replace(name.begin(), name.end(), '.', '_');
                           return name;
                         });

TEST(Fuzz, PicklesBehindARightChecksum) {
  // Damage in an archive is mostly caught by its checksum: here the pickle is damaged before it is packed.
  const TemporaryFolder folder;
  const std::string body = pickle::whole(
      "}" + pickle::text("a") +
      pickle::tensor(pickle::storage("FloatStorage", "0", 4), 0, pickle::tuple({2, 2}), pickle::tuple({2, 1})) + "s" +
      pickle::text("b") +
      pickle::tensor(pickle::storage("FloatStorage", "0", 4), 1, pickle::tuple({3}), pickle::tuple({1})) + "s");
  Random random(11);
  int read = 0;
  for (int i = 0; i < 3000; ++i) {
    const std::string file = torch_file(mutate(body, random));
    FILE* out = std::fopen((folder / "x.bin").c_str(), "wb");
    std::fwrite(file.data(), 1, file.size(), out);
    std::fclose(out);
    try {
      touch(read_torch_zip(folder / "x.bin"));
      ++read;
    } catch (const CheckpointError&) {
    }
  }
  EXPECT_GT(read, 0);
  EXPECT_LT(read, 3000);
}

TEST(Fuzz, ZipStructuresAloneIn64BitToo) {
  const TemporaryFolder folder;
  const std::string body = pickle::whole(pickle::dict(
      "w", pickle::tensor(pickle::storage("ByteStorage", "0", 3), 0, pickle::tuple({3}), pickle::tuple({1}))));
  const std::string valid = make_zip({{"a/data.pkl", body}, {"a/data/0", "abc"}}, /*zip64=*/true);
  // Only bytes behind the contents are damaged: directory, zip64 records, end.
  const std::string contents = valid.substr(0, valid.find("PK\x01\x02"));
  const std::string directory = valid.substr(contents.size());
  Random random(13);
  for (int i = 0; i < 3000; ++i) {
    const std::string file = contents + mutate(directory, random);
    FILE* out = std::fopen((folder / "x.bin").c_str(), "wb");
    std::fwrite(file.data(), 1, file.size(), out);
    std::fclose(out);
    try {
      touch(read_torch_zip(folder / "x.bin"));
    } catch (const CheckpointError&) {
    }
  }
}

TEST(Fuzz, IndexAndJsonFiles) {
  const TemporaryFolder folder;
  write_safetensors(folder / "a.safetensors", {{"w", at::ones({1})}});
  const std::string index = R"({"metadata": {"total_size": 4}, "weight_map": {"w": "a.safetensors"}})";
  const Outcome of_index =
      fuzz(folder / "model.safetensors.index.json", index, 17, [&] { touch(read_model_weights(folder.path())); });
  EXPECT_GT(of_index.refused, 0);

  write_adapter_folder(folder / "adapter", {R"({"r": 8, "target_modules": ["in_proj"]})", {{"w", at::ones({1})}}});
  fuzz(folder / "adapter/adapter_config.json", fs::read_file(folder / "adapter/adapter_config.json"), 19,
       [&] { touch(read_adapter_folder(folder / "adapter").tensors); });

  const auto step = write_training_folder(folder / "run", 1, [](const auto& path) {
    write_training_state(path, {{}, "{}"});
  });
  const Outcome of_manifest =
      fuzz(step / "files.json", fs::read_file(step / "files.json"), 23, [&] { verify_training_folder(step); });
  EXPECT_GT(of_manifest.refused, kMutations / 2);
}

}  // namespace
}  // namespace mpeft::checkpoint
