#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>

namespace mpeft::train {

/// A TensorBoard event file of scalars, written record by record: TFRecord framing (length, data, masked CRC-32C of
/// each) around Event messages in the protocol-buffer wire format.
class EventFile {
 public:
  /// Makes `folder`/events.out.tfevents.<seconds>.<host>.<process>; event files that lie there go: the caller writes
  /// what they held again. Throws DataError when it cannot be written.
  explicit EventFile(const std::filesystem::path& folder);
  ~EventFile();
  EventFile(const EventFile&) = delete;
  EventFile& operator=(const EventFile&) = delete;

  /// One point of each curve. `wall_time`: seconds since 1970.
  void scalars(int64_t step, double wall_time, const std::map<std::string, double>& values);

  const std::filesystem::path& path() const { return path_; }

 private:
  void record(std::string_view data);

  std::filesystem::path path_;
  int fd_ = -1;
};

/// CRC-32C (Castagnoli, reflected polynomial 0x82F63B78).
uint32_t crc32c(std::string_view bytes);

/// The CRC as TFRecord files hold it: rotated and offset, so that a CRC of data that holds CRCs stays good.
uint32_t masked_crc32c(std::string_view bytes);

}  // namespace mpeft::train
