#include "mpeft/checkpoint/adapter_folder.h"

#include "unit/checkpoint/test_tools.h"

namespace mpeft::checkpoint {
namespace {

TEST(AdapterFolder, RoundTripKeepsTextAndBits) {
  const TemporaryFolder folder;
  const AdapterFolder adapter{"{\"r\": 8,\n \"ключ\": 1.50}\n",
                              {{"base_model.model.x.lora_A.weight", at::rand({8, 3})}}};
  write_adapter_folder(folder / "a", adapter);
  const AdapterFolder found = read_adapter_folder(folder / "a");
  EXPECT_EQ(found.config_json, adapter.config_json);
  expect_same_tensors(found.tensors, adapter.tensors);
  EXPECT_EQ(fs::list_folder(folder / "a"),
            (std::vector<std::string>{"adapter_config.json", "adapter_model.safetensors"}));
}

TEST(AdapterFolder, OldAdaptersInTorchFormatAreRead) {
  const TemporaryFolder folder;
  folder.write("adapter_config.json", "{}");
  std::filesystem::copy(golden("module.bin"), folder / "adapter_model.bin");
  EXPECT_EQ(read_adapter_folder(folder.path()).tensors.size(), 7u);
}

TEST(AdapterFolder, OtherFoldersAreExplained) {
  const TemporaryFolder folder;
  const auto error = [&] { return error_of(folder.path(), [&] { read_adapter_folder(folder.path()); }); };
  EXPECT_EQ(error(), "<dir>: not an adapter folder: it has no adapter_config.json");
  folder.write("config.json", "{}");
  EXPECT_EQ(error(), "<dir>: not an adapter folder: it has no adapter_config.json (it looks like a base model)");
  folder.write("adapter_config.json", "{");
  EXPECT_EQ(error().rfind("<dir>/adapter_config.json:1:2: not valid JSON: syntax error", 0), 0u) << error();
  folder.write("adapter_config.json", "{}");
  EXPECT_EQ(error(), "<dir>: the adapter has no weights: looked for adapter_model.safetensors, adapter_model.bin");
}

TEST(AdapterFolder, AFailedWriteLeavesTheOldAdapter) {
  const TemporaryFolder folder;
  write_adapter_folder(folder / "a", {"{}", {{"w", at::ones({2})}}});
  EXPECT_EQ(error_of(folder.path(),
                     [&] {
                       write_adapter_folder(folder / "a", {"{}", {{"w", at::Tensor()}}});
                     })
                .find("no error"),
            std::string::npos);
  EXPECT_EQ(read_adapter_folder(folder / "a").tensors.at("w").numel(), 2);
  EXPECT_EQ(fs::list_folder(folder.path()), std::vector<std::string>{"a"});
}

}  // namespace
}  // namespace mpeft::checkpoint
