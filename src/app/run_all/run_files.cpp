#include "app/run_all/run_files.h"

#include <fstream>
#include <sys/stat.h>

#include <nlohmann/json.hpp>

#include "mpeft/core/error.h"
#include "mpeft/core/fs.h"
#include "mpeft/core/strings.h"

namespace mpeft::app {
namespace {

using nlohmann::json;

constexpr uint64_t kMaxManifestBytes = 64 << 20;
constexpr uint64_t kMaxReadAtOnce = 64 << 20;

json read_manifest(const std::filesystem::path& output_dir) {
  try {
    const auto path = output_dir / "manifest.json";
    if (!std::filesystem::exists(path)) return {};
    return json::parse(fs::read_file(path, kMaxManifestBytes), nullptr, /*allow_exceptions=*/false);
  } catch (const DataError&) {
    return {};  // replaced or removed between two calls
  }
}

double number(const json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && it->is_number() ? it->get<double>() : std::nan("");
}

int64_t integer(const json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && it->is_number_integer() ? it->get<int64_t>() : 0;
}

std::string text(const json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && it->is_string() ? it->get<std::string>() : "";
}

}  // namespace

bool is_finished_run(const Experiment& experiment) {
  const json manifest = read_manifest(experiment.output_dir);
  if (!manifest.is_object()) return false;
  const auto is_true = [&](const char* key) {
    const auto it = manifest.find(key);
    return it != manifest.end() && it->is_boolean() && it->get<bool>();
  };
  return is_true("finished") && is_true("debug") == experiment.debug;
}

bool is_finished_as_asked(const Experiment& experiment) {
  if (!is_finished_run(experiment)) return false;
  const auto before = config::saved_experiment(experiment.output_dir.string());
  if (!before) return true;  // not a run of train's, or an old one
  const auto result = experiment.output_dir / config::result_folder(experiment.config);
  return (experiment.no_save || std::filesystem::exists(result)) &&
         config::changed_settings(*before, experiment.config).empty();
}

RunFollower::RunFollower(std::filesystem::path output_dir)
    : output_dir_(std::move(output_dir)),
      old_manifest_(state_of(output_dir_ / "manifest.json")),
      old_metrics_(state_of(output_dir_ / "metrics.jsonl")) {}

RunFollower::FileState RunFollower::state_of(const std::filesystem::path& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return {};
  return {status.st_ino, static_cast<uint64_t>(status.st_size),
          status.st_ctim.tv_sec * int64_t{1'000'000'000} + status.st_ctim.tv_nsec};
}

bool RunFollower::poll() {
  const bool manifest = poll_manifest();
  return poll_metrics() || manifest;
}

bool RunFollower::poll_manifest() {
  const FileState now = state_of(output_dir_ / "manifest.json");
  if (now.inode == 0 || now == old_manifest_ || now == manifest_) return false;
  const json manifest = read_manifest(output_dir_);
  if (!manifest.is_object()) return false;
  manifest_ = now;
  progress_.total_steps = integer(manifest, "total_steps");
  first_metric_ = text(manifest, "first_metric");
  return true;
}

bool RunFollower::poll_metrics() {
  const auto path = output_dir_ / "metrics.jsonl";
  const FileState now = state_of(path);
  if (now.inode == 0 || now == old_metrics_) return false;
  if (now.inode != metrics_inode_ || now.size < offset_) {  // made or rewritten: read from the beginning
    metrics_inode_ = now.inode;
    offset_ = 0;
    const int64_t total_steps = progress_.total_steps;
    progress_ = {};
    progress_.total_steps = total_steps;
  }
  std::ifstream file(path, std::ios::binary);
  file.seekg(0, std::ios::end);
  const auto size = static_cast<uint64_t>(std::max<std::streamoff>(file.tellg(), 0));
  if (!file || size <= offset_) return false;
  std::string added(std::min(size - offset_, kMaxReadAtOnce), '\0');
  file.seekg(static_cast<std::streamoff>(offset_));
  if (!file.read(added.data(), static_cast<std::streamsize>(added.size()))) return false;
  const size_t end = added.rfind('\n');  // a line that is being written is read when it is whole
  if (end == std::string::npos) {
    if (added.size() == kMaxReadAtOnce) offset_ += kMaxReadAtOnce;  // no line is that long
    return false;
  }
  offset_ += end + 1;
  for (const auto& line : split(std::string_view(added).substr(0, end), '\n')) read_line(line);
  return true;
}

void RunFollower::read_line(const std::string& line) {
  const json object = json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!object.is_object()) return;
  progress_.step = integer(object, "step");
  const std::string kind = text(object, "kind");
  if (kind == "train") {
    progress_.epoch = integer(object, "epoch");
    progress_.loss = number(object, "loss");
  } else if (kind == "eval") {
    ++progress_.n_evaluations;
    const auto metrics = object.find("metrics");
    if (metrics == object.end() || !metrics->is_object() || metrics->empty()) return;
    const auto it = metrics->contains(first_metric_) ? metrics->find(first_metric_) : metrics->begin();
    progress_.metric_name = it.key();
    progress_.metric = it->is_number() ? it->get<double>() : std::nan("");
    if (!std::isnan(progress_.metric) && !(progress_.metric <= progress_.best_metric)) {
      progress_.best_metric = progress_.metric;
      progress_.best_epoch = integer(object, "epoch");
    }
  }
}

}  // namespace mpeft::app
