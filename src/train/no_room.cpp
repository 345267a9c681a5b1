#include "mpeft/train/no_room.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <system_error>

#include "mpeft/checkpoint/training_folder.h"
#include "mpeft/core/error.h"
#include "mpeft/core/strings.h"

namespace mpeft::train {

bool is_no_room(const std::string& message) {
  constexpr std::array<int, 3> kReasons = {ENOSPC, EDQUOT, EFBIG};
  return std::ranges::any_of(kReasons,
                             [&](int reason) { return message.find(std::strerror(reason)) != std::string::npos; });
}

std::string no_room_advice(const NoRoomPlace& place) {
  std::string text = "\n  ";
  if (place.checkpoint_bytes > 0)
    text += mpeft::str("a checkpoint takes about ", human_bytes(place.checkpoint_bytes), "; ");
  std::error_code error;
  const auto space = std::filesystem::space(place.output_dir, error);
  if (!error) text += mpeft::str(human_bytes(space.available), " are free in ", place.output_dir.string());
  const auto latest = checkpoint::latest_training_folder(place.output_dir);
  if (!latest) return text + "\n  no checkpoint has been written yet: make room and start again";
  text += mpeft::str("\n  the last checkpoint is intact: ", latest->path.string(),
                     "\n  make room, then add --resume to go on");
  if (place.save_total_limit == 1) return text;
  return text + mpeft::str("; --set save_total_limit=1 keeps fewer checkpoints (it is ", place.save_total_limit,
                           place.save_total_limit == 0 ? ": all)" : ")");
}

void with_no_room_advice(const std::function<NoRoomPlace()>& place, const std::function<void()>& write) {
  try {
    write();
  } catch (const Error& e) {
    if (!is_no_room(e.what())) throw;
    throw Error(e.exit_code(), e.what() + no_room_advice(place()));
  }
}

}  // namespace mpeft::train
