#include "mpeft/train/run_folder.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "mpeft/checkpoint/training_folder.h"
#include "mpeft/core/error.h"
#include "mpeft/core/fs.h"
#include "mpeft/core/strings.h"

namespace mpeft::train {
namespace {

constexpr const char* kManifest = "manifest.json";
constexpr const char* kLog = "log.txt";

bool is_of_a_run(std::string_view name) {
  return name == "cfg.yaml" || name == "metrics.jsonl" || name == "adapter" || name == "model" ||
         name.starts_with("checkpoint-") || name.starts_with("predictions-") ||
         name.starts_with("events.out.tfevents.");
}

// ".NAME.tmp-PID" and ".NAME.old-PID" (core/fs.h) of what a run writes.
bool is_leftover(std::string_view name) {
  if (!name.starts_with('.')) return false;
  for (const std::string_view mark : {".tmp-", ".old-"}) {
    const size_t at = name.rfind(mark);
    if (at == std::string_view::npos || at == 0) continue;
    const std::string_view pid = name.substr(at + mark.size()), whole = name.substr(1, at - 1);
    if (!pid.empty() && pid.find_first_not_of("0123456789") == std::string_view::npos &&
        (is_of_a_run(whole) || whole == kManifest || whole == kLog)) {
      return true;
    }
  }
  return false;
}

std::vector<std::string> names_of_runs(const std::filesystem::path& folder) {
  std::vector<std::string> ours;
  for (const auto& name : fs::list_folder(folder)) {
    if (is_of_a_run(name)) ours.push_back(name);
  }
  return ours;
}

}  // namespace

std::unique_ptr<RunFolder> RunFolder::open(const std::filesystem::path& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) throw DataError(mpeft::str(path.string(), ": cannot create the output folder: ", error.message()));
  const auto lock_path = path / ".lock";
  const int fd = ::open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0) throw DataError(mpeft::str(lock_path.string(), ": cannot be opened: ", std::strerror(errno)));
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    ::close(fd);
    return nullptr;
  }
  return std::unique_ptr<RunFolder>(new RunFolder(path, fd));  // make_unique cannot reach the constructor
}

RunFolder RunFolder::look(const std::filesystem::path& path) {
  // the folder itself, or the nearest above it that is there, in which the others will be made
  std::error_code error;
  auto nearest = std::filesystem::absolute(path, error);
  while (!std::filesystem::exists(nearest, error) && nearest.has_parent_path() && nearest != nearest.parent_path())
    nearest = nearest.parent_path();
  if (!std::filesystem::is_directory(nearest, error))
    throw DataError(mpeft::str(path.string(), ": cannot be the output folder: ", nearest.string(), " is a file"));
  if (::access(nearest.c_str(), W_OK | X_OK) != 0) {
    throw DataError(
        mpeft::str(path.string(), ": cannot be the output folder: ", nearest.string(), ": ", std::strerror(errno)));
  }
  return {path, -1};
}

RunFolder::~RunFolder() {
  if (fd_ >= 0) ::close(fd_);
}

bool RunFolder::is_finished() const {
  const auto manifest = path_ / kManifest;
  if (!std::filesystem::exists(manifest)) return false;
  const auto object = nlohmann::json::parse(fs::read_file(manifest, 64 << 20), nullptr, /*allow_exceptions=*/false);
  return object.is_object() && object.value("finished", false);
}

bool RunFolder::has_checkpoint() const { return !checkpoint::list_training_folders(path_).empty(); }

void RunFolder::require_ours() const {
  const auto ours = names_of_runs(path_);
  if (!ours.empty() && !std::filesystem::exists(path_ / kManifest)) {
    throw ConfigError(mpeft::str(path_.string(), ": holds ", join(ours, ", "), " but no ", kManifest,
                                 ": not the output of a run, so it is left alone; name another folder with --output"));
  }
}

void RunFolder::clear() const {
  require_ours();
  for (const auto& name : names_of_runs(path_)) std::filesystem::remove_all(path_ / name);
  remove_leftovers();
  // Last: a removal that is interrupted can be repeated.
  for (const char* name : {kLog, kManifest}) std::filesystem::remove(path_ / name);
}

bool RunFolder::would_clear(const std::filesystem::path& file) const {
  std::error_code error;
  const auto inside = std::filesystem::weakly_canonical(file, error)
                          .lexically_relative(std::filesystem::weakly_canonical(path_, error));
  if (inside.empty()) return false;
  const std::string name = *inside.begin();
  return is_of_a_run(name) || name == kManifest || name == kLog;
}

void RunFolder::remove_leftovers() const {
  for (const auto& name : fs::list_folder(path_)) {
    if (!is_leftover(name)) continue;
    // What was set aside for a new one that did not come takes its name again.
    const size_t old = name.rfind(".old-");
    const auto whole = path_ / name.substr(1, old == std::string::npos ? 0 : old - 1);
    if (old != std::string::npos && !std::filesystem::exists(whole)) {
      std::filesystem::rename(path_ / name, whole);
    } else {
      std::filesystem::remove_all(path_ / name);
    }
  }
}

}  // namespace mpeft::train
