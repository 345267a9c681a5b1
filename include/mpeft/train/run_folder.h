#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace mpeft::train {

/// The output folder of one run, locked for this process while the object lives. The lock is the kernel's (flock): it
/// goes with its process, so a dead process leaves no stale lock.
class RunFolder {
 public:
  /// Opens (makes) the folder and takes its lock. Null when another process holds it.
  static std::unique_ptr<RunFolder> open(const std::filesystem::path& path);
  /// The folder as it is, or will be, without making it or taking its lock. Throws DataError when it cannot be made or
  /// written to.
  static RunFolder look(const std::filesystem::path& path);
  ~RunFolder();
  RunFolder(RunFolder&& other) noexcept : path_(std::move(other.path_)), fd_(std::exchange(other.fd_, -1)) {}
  RunFolder(const RunFolder&) = delete;
  RunFolder& operator=(const RunFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  /// True when a run in this folder went to its end (`manifest.json` says so).
  bool is_finished() const;
  /// True when there is a checkpoint to go on from.
  bool has_checkpoint() const;
  /// Throws ConfigError when names that a run writes are here without the `manifest.json` that every run writes first:
  /// then they are somebody else's.
  void require_ours() const;
  /// Removes what a run wrote here, by name; anything else in the folder stays. First require_ours.
  void clear() const;
  /// Whether clear() would remove this file or folder.
  bool would_clear(const std::filesystem::path& file) const;
  /// Removes what a writer left half written that is no more (".model.tmp-1234"), by name. Only with the lock.
  void remove_leftovers() const;

 private:
  RunFolder(std::filesystem::path path, int fd) : path_(std::move(path)), fd_(fd) {}
  std::filesystem::path path_;
  int fd_ = -1;
};

}  // namespace mpeft::train
