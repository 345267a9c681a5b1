#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

namespace mpeft::train {

/// The run whose files did not fit on the disk.
struct NoRoomPlace {
  std::filesystem::path output_dir;
  uint64_t checkpoint_bytes = 0;  ///< about what a checkpoint takes; 0: not said
  int64_t save_total_limit = 0;   ///< checkpoints kept beside the best one; 0: all
};

/// Whether the message of an error says that a file did not fit: no space left, a quota, a limit of the size of a file.
bool is_no_room(const std::string& message);

/// What to do about it, a line each that begins with a line break: how much is needed and free, the last checkpoint.
std::string no_room_advice(const NoRoomPlace& place);

/// Calls `write`; where a file does not fit, its Error says what to do too.
void with_no_room_advice(const std::function<NoRoomPlace()>& place, const std::function<void()>& write);

}  // namespace mpeft::train
