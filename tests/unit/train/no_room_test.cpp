#include "mpeft/train/no_room.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "mpeft/checkpoint/training_folder.h"
#include "mpeft/core/error.h"

#include "support/temporary_folder.h"

namespace mpeft::train {
namespace {

using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;

TEST(NoRoomTest, SaysWhatIsNeededWhatIsFreeAndWhatToDo) {
  const test::TemporaryFolder folder;
  const auto before = no_room_advice({folder.path(), 3 << 20, 2});
  EXPECT_THAT(before, HasSubstr("\n  a checkpoint takes about 3.0 MiB; "));
  EXPECT_THAT(before, ContainsRegex("; [0-9.]+ [KMGT]iB are free in "));
  EXPECT_THAT(before, HasSubstr("\n  no checkpoint has been written yet: make room and start again"));
  EXPECT_THAT(before, Not(HasSubstr("--resume")));
  checkpoint::write_training_folder(folder.path(), 7, [](const std::filesystem::path& path) {
    checkpoint::write_training_state(path, {.tensors = {}, .json = "{}"});
  });
  const auto after = no_room_advice({folder.path(), 0, 2});
  EXPECT_THAT(after, Not(HasSubstr("takes about")));
  EXPECT_THAT(after, HasSubstr("\n  the last checkpoint is intact: " + (folder / "checkpoint-7").string() +
                               "\n  make room, then add --resume to go on; --set save_total_limit=1 keeps fewer "
                               "checkpoints (it is 2)"));
  EXPECT_THAT(no_room_advice({folder.path(), 0, 1}), Not(HasSubstr("save_total_limit")));
}

TEST(NoRoomTest, OnlyFilesThatDoNotFitAreAdvisedOn) {
  const test::TemporaryFolder folder;
  const auto message_after = [&](const std::string& reason) {
    try {
      with_no_room_advice(
          [&] {
            return NoRoomPlace{folder.path(), 1, 1};
          },
          [&] { throw CheckpointError("x/optimizer.safetensors: cannot be written: " + reason); });
    } catch (const Error& e) {
      EXPECT_EQ(e.exit_code(), ExitCode::kData);
      return std::string(e.what());
    }
    return std::string();
  };
  for (const char* reason : {"No space left on device", "Disk quota exceeded", "File too large"}) {
    EXPECT_THAT(message_after(reason), HasSubstr(std::string(reason) + "\n  a checkpoint takes")) << reason;
  }
  EXPECT_EQ(message_after("Permission denied"), "x/optimizer.safetensors: cannot be written: Permission denied");
}

}  // namespace
}  // namespace mpeft::train
