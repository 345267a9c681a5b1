#include "mpeft/checkpoint/model_folder.h"

#include <cstdlib>

#include <gmock/gmock.h>

#include "mpeft/checkpoint/safetensors.h"
#include "mpeft/checkpoint/torch_zip.h"

#include "unit/checkpoint/test_tools.h"

namespace mpeft::checkpoint {
namespace {

using testing::HasSubstr;

/// Sets the variables that say where the hub cache is, and puts them back.
class Environment {
 public:
  explicit Environment(std::map<std::string, std::string> values) {
    for (const char* name : {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", "HOME"}) {
      const char* old = std::getenv(name);
      if (old != nullptr) old_[name] = old;
      const auto value = values.find(name);
      value == values.end() ? ::unsetenv(name) : ::setenv(name, value->second.c_str(), 1);
    }
  }
  ~Environment() {
    for (const char* name : {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", "HOME"}) {
      const auto old = old_.find(name);
      old == old_.end() ? ::unsetenv(name) : ::setenv(name, old->second.c_str(), 1);
    }
  }

 private:
  std::map<std::string, std::string> old_;
};

TensorMap small_model() {
  return {{"backbone.embeddings.weight", at::rand({4, 2})}, {"backbone.norm_f.weight", at::ones({2})}};
}

// A repository of the hub cache as huggingface_hub lays it out: blobs, and snapshots of links to them.
void make_snapshot(const std::filesystem::path& cache, const std::string& repository, const std::string& commit) {
  const auto folder = cache / repository;
  std::filesystem::create_directories(folder / "snapshots" / commit);
  fs::write_file_atomic(folder / "blobs" / ("config-" + commit), "{}");
  write_safetensors(folder / "blobs" / ("weights-" + commit), small_model());
  std::filesystem::create_symlink("../../blobs/config-" + commit, folder / "snapshots" / commit / "config.json");
  std::filesystem::create_symlink("../../blobs/weights-" + commit, folder / "snapshots" / commit / "model.safetensors");
}

TEST(FindModelFolder, ALocalFolderComesFirst) {
  const TemporaryFolder folder;
  save_model_folder(folder / "m", small_model(), "{}");
  const ModelFolder found = find_model_folder((folder / "m").string());
  EXPECT_EQ(found.path, folder / "m");
  EXPECT_EQ(found.id, (folder / "m").string());
}

TEST(FindModelFolder, TheHubCacheIsSearchedByIdThroughItsLinks) {
  const TemporaryFolder folder;
  const std::string repository = "models--state-spaces--mamba-130m";
  make_snapshot(folder / "hub", repository, "aaaa");
  make_snapshot(folder / "hub", repository, "bbbb");
  fs::write_file_atomic(folder / "hub" / repository / "refs" / "main", "aaaa\n");
  const Environment environment({{"HF_HOME", folder.path().string()}});
  const ModelFolder found = find_model_folder("state-spaces/mamba-130m");
  EXPECT_EQ(found.path, folder / "hub" / repository / "snapshots" / "aaaa");
  EXPECT_EQ(read_model_weights(found.path).size(), 2u);
}

TEST(FindModelFolder, WithoutRefsMainTheNewestSnapshotIsTaken) {
  const TemporaryFolder folder;
  const std::string repository = "models--mamba";
  make_snapshot(folder.path(), repository, "aaaa");
  make_snapshot(folder.path(), repository, "bbbb");
  const auto snapshots = folder / repository / "snapshots";
  std::filesystem::last_write_time(snapshots / "aaaa",
                                   std::filesystem::last_write_time(snapshots / "bbbb") + std::chrono::seconds(5));
  const Environment environment({{"HF_HUB_CACHE", folder.path().string()}});
  EXPECT_EQ(find_model_folder("mamba").path, snapshots / "aaaa");
}

TEST(FindModelFolder, TheCacheFolderFollowsTheHubsRules) {
  const auto cache_with = [](std::map<std::string, std::string> values) {
    const Environment environment(std::move(values));
    return hub_cache_folder().string();
  };
  EXPECT_EQ(cache_with({{"HF_HUB_CACHE", "/a"}, {"HF_HOME", "/b"}, {"HOME", "/h"}}), "/a");
  EXPECT_EQ(cache_with({{"HF_HOME", "/b"}, {"XDG_CACHE_HOME", "/x"}, {"HOME", "/h"}}), "/b/hub");
  EXPECT_EQ(cache_with({{"XDG_CACHE_HOME", "/x"}, {"HOME", "/h"}}), "/x/huggingface/hub");
  EXPECT_EQ(cache_with({{"HOME", "/h"}}), "/h/.cache/huggingface/hub");
}

TEST(FindModelFolder, AnAbsentModelIsExplained) {
  const TemporaryFolder folder;
  const Environment environment({{"HOME", folder.path().string()}});
  EXPECT_EQ(error_of(folder.path(), [] { find_model_folder("state-spaces/mamba-130m"); }),
            "model state-spaces/mamba-130m: not found in ./state-spaces/mamba-130m nor in the hub cache "
            "(~/.cache/huggingface/hub).\n"
            "  fetch it on a machine with a network:  hf download state-spaces/mamba-130m\n"
            "  or try the pipeline without it:         train --cfg … --model cfg/models/130m.yaml   (random weights)");
  EXPECT_THAT(error_of({}, [] { find_model_folder("state-spaces/mamba-1.4b-hf"); }), HasSubstr("cfg/models/1.4b.yaml"));
  EXPECT_THAT(error_of({}, [] { find_model_folder("131m"); }), HasSubstr("did you mean '130m'?"));
  EXPECT_THAT(error_of({}, [] { find_model_folder("130m"); }), HasSubstr("model 130m: no cfg/models/130m.yaml"));
  EXPECT_EQ(error_of({}, [] { find_model_folder("weights/a/b"); }),
            "model weights/a/b: no such folder, and no model id either\n"
            "  try the pipeline without it:         train --cfg … --model cfg/models/130m.yaml   (random weights)");
}

TEST(FindModelFolder, IdsNeverLeadOutOfTheCache) {
  const TemporaryFolder folder;
  const Environment environment({{"HF_HUB_CACHE", (folder / "hub").string()}});
  for (const char* id : {"../x", "a/../b", "a/..", "./x", "/nowhere/x", "a b", "a/b/c", "", "a--b/c", "x\n"}) {
    EXPECT_THAT(error_of({}, [&] { find_model_folder(id); }), testing::Not(HasSubstr("hub cache"))) << id;
  }
}

TEST(FindModelFolder, IncompleteFoldersSayWhatTheyLack) {
  const TemporaryFolder folder;
  const Environment environment({{"HF_HUB_CACHE", folder.path().string()}});
  make_snapshot(folder.path(), "models--a--b", "aaaa");
  std::filesystem::remove(folder / "models--a--b" / "blobs" / "weights-aaaa");
  EXPECT_THAT(error_of(folder.path(), [] { find_model_folder("a/b"); }),
              testing::StartsWith("model a/b: the download in the hub cache is incomplete: "
                                  "<dir>/models--a--b/snapshots/aaaa has no weights"));
  fs::write_file_atomic(folder / "models--a--b" / "refs" / "main", "../../../etc");
  EXPECT_EQ(
      error_of(folder.path(), [] { find_model_folder("a/b"); }),
      "<dir>/models--a--b/refs/main: '../../../etc' is not a commit: the cache is corrupt, remove <dir>/models--a--b");
  folder.write("m/readme", "");
  EXPECT_EQ(error_of(folder.path(), [&] { find_model_folder((folder / "m").string()); }),
            "model <dir>/m: the folder has no config.json");
  EXPECT_EQ(error_of(folder.path(), [&] { find_model_folder((folder / "m/readme").string()); }),
            "model <dir>/m/readme: is a file; give the folder that holds config.json and the weights");
}

TEST(ReadModelWeights, ReadsShardsOfTorchFiles) {
  const TensorMap tensors = with_canonical_names(read_model_weights(golden("sharded")), "sharded");
  EXPECT_TRUE(at::equal(tensors.at("backbone.embeddings.weight"), at::arange(8, at::kFloat).view({4, 2})));
  EXPECT_TRUE(at::equal(tensors.at("backbone.norm_f.weight"), at::ones({2})));
  std::vector<std::string> names;
  for (const auto& file : model_weight_files(golden("sharded"))) names.push_back(file.filename());
  EXPECT_EQ(names, (std::vector<std::string>{"pytorch_model.bin.index.json", "pytorch_model-00001-of-00002.bin",
                                             "pytorch_model-00002-of-00002.bin"}));
}

TEST(ReadModelWeights, PrefersSafetensors) {
  const TemporaryFolder folder;
  std::filesystem::copy(golden("module.bin"), folder / "pytorch_model.bin");
  EXPECT_EQ(model_weight_files(folder.path()).at(0).filename(), "pytorch_model.bin");
  write_safetensors(folder / "model.safetensors", small_model());
  EXPECT_EQ(model_weight_files(folder.path()).at(0).filename(), "model.safetensors");
  EXPECT_EQ(read_model_weights(folder.path()).count("backbone.embeddings.weight"), 1u);
}

class ShardedModel : public testing::Test {
 protected:
  ShardedModel() {
    write_safetensors(folder_ / "a.safetensors", {{"w", at::ones({1})}});
    write_safetensors(folder_ / "b.safetensors", {{"v", at::zeros({2})}});
  }
  std::string error_with(const std::string& index) {
    folder_.write("model.safetensors.index.json", index);
    return error_of(folder_.path(), [&] { read_model_weights(folder_.path()); });
  }
  TemporaryFolder folder_;
};

TEST_F(ShardedModel, IsReadAsOne) {
  folder_.write("model.safetensors.index.json", R"({"weight_map":{"w":"a.safetensors","v":"b.safetensors"}})");
  expect_same_tensors(read_model_weights(folder_.path()), {{"w", at::ones({1})}, {"v", at::zeros({2})}});
}

TEST_F(ShardedModel, ErrorsNameShardAndTensor) {
  const std::string index = "<dir>/model.safetensors.index.json: ";
  EXPECT_EQ(error_with(R"({"weight_map":{"w":"a.safetensors","x":"c.safetensors","y":"d.safetensors"}})"),
            index + "2 of 3 shards are missing: c.safetensors, d.safetensors; fetch the model again");
  EXPECT_EQ(error_with(R"({"weight_map":{"w":"a.safetensors","x":"a.safetensors","v":"b.safetensors"}})"),
            "<dir>/a.safetensors: tensor 'x' is missing; model.safetensors.index.json says that it is here");
  EXPECT_EQ(error_with(R"({"weight_map":{"w":"b.safetensors"}})"),
            "<dir>/b.safetensors: tensor 'v' is not in model.safetensors.index.json");
  EXPECT_EQ(error_with(R"({"weight_map":{"w":"b.safetensors","v":"a.safetensors"}})"),
            "<dir>/a.safetensors: tensor 'w' should be in b.safetensors by model.safetensors.index.json");
  for (const char* evil : {"../a.safetensors", "/etc/passwd", "..", "", "x/y", "a\\\\b"}) {
    EXPECT_THAT(error_with(str(R"({"weight_map":{"w":")", evil, "\"}}")), HasSubstr("tensor 'w': refused: ")) << evil;
  }
  EXPECT_EQ(error_with("{}"), index + "'weight_map' is missing or not an object");
  EXPECT_EQ(error_with(R"({"weight_map":{}})"), index + "'weight_map' is empty");
  EXPECT_EQ(error_with(R"({"weight_map":{"w":1}})"), index + "tensor 'w': expected the name of a file");
  EXPECT_EQ(error_with(R"({"weight_map":{"w":"a.safetensors","w":"b.safetensors"}})"), index + "key 'w' appears twice");
  EXPECT_EQ(error_with("[]"), index + "expected a JSON object, found array");
  EXPECT_EQ(error_with(std::string(1000, '[')),
            index.substr(0, index.size() - 2) + ":1:65: nested deeper than 64 levels");
  EXPECT_THAT(error_with("{\"a\":\"\xff\"}"), HasSubstr(".json:1:7: not valid JSON: "));
}

TEST(ReadModelWeights, AFolderWithoutWeightsIsAnError) {
  const TemporaryFolder folder;
  EXPECT_EQ(error_of(folder.path(), [&] { read_model_weights(folder.path()); }),
            "<dir>: no weights: looked for model.safetensors, model.safetensors.index.json, pytorch_model.bin, "
            "pytorch_model.bin.index.json");
  std::filesystem::create_symlink("gone", folder / "model.safetensors");
  EXPECT_EQ(error_of(folder.path(), [&] { read_model_weights(folder.path()); }),
            "<dir>/model.safetensors: the link leads nowhere: the download is incomplete or its blob was removed");
}

TEST(CanonicalNames, BothSpellingsBecomeOne) {
  EXPECT_EQ(canonical_tensor_name("backbone.embedding.weight"), "backbone.embeddings.weight");
  EXPECT_EQ(canonical_tensor_name("backbone.embeddings.weight"), "backbone.embeddings.weight");
  EXPECT_EQ(canonical_tensor_name("backbone.layers.0.mixer.A_log"), "backbone.layers.0.mixer.A_log");
  EXPECT_EQ(error_of({},
                     [] {
                       with_canonical_names({{"backbone.embedding.weight", at::ones({1})},
                                             {"backbone.embeddings.weight", at::ones({1})}},
                                            "m");
                     }),
            "m: two tensors are spellings of 'backbone.embeddings.weight'");
}

TEST(SaveModelFolder, RoundTripIsBitwiseAndTheTiedHeadIsWrittenOnce) {
  const TemporaryFolder folder;
  TensorMap tensors = small_model();
  const TensorMap untied = tensors;
  tensors["lm_head.weight"] = tensors.at("backbone.embeddings.weight").detach();
  save_model_folder(folder / "m", tensors, R"({"vocab_size": 4})");
  expect_same_tensors(read_model_weights(folder / "m"), untied);
  EXPECT_EQ(fs::read_file(folder / "m/config.json"), R"({"vocab_size": 4})");
  EXPECT_EQ(read_safetensors_metadata(folder / "m/model.safetensors").at("format"), "pt");

  save_model_folder(folder / "m", tensors, R"({"tie_word_embeddings": false})");
  EXPECT_EQ(read_model_weights(folder / "m").size(), 3u);
  tensors["lm_head.weight"] = tensors.at("backbone.embeddings.weight").clone();
  save_model_folder(folder / "m", tensors, "{}");
  expect_same_tensors(read_model_weights(folder / "m"), tensors);
  EXPECT_EQ(fs::list_folder(folder.path()), std::vector<std::string>{"m"});
}

TEST(SaveModelFolder, AFailureLeavesTheOldFolder) {
  const TemporaryFolder folder;
  save_model_folder(folder / "m", small_model(), "{}");
  EXPECT_EQ(error_of(folder.path(), [&] { save_model_folder(folder / "m", {}, "[]"); }),
            "<dir>/m/config.json: expected a JSON object, found array");
  EXPECT_NE(error_of(folder.path(), [&] { save_model_folder(folder / "m", {{"x", at::Tensor()}}, "{}"); }), "no error");
  EXPECT_EQ(read_model_weights(folder / "m").size(), 2u);
  EXPECT_EQ(fs::list_folder(folder.path()), std::vector<std::string>{"m"});
}

}  // namespace
}  // namespace mpeft::checkpoint
