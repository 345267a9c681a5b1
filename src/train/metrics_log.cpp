#include "mpeft/train/metrics_log.h"

#include <cmath>
#include <cstdio>
#include <ctime>
#include <fcntl.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "mpeft/core/error.h"
#include "mpeft/core/fs.h"
#include "mpeft/core/strings.h"

#include "train/event_file.h"

namespace mpeft::train {
namespace {

using nlohmann::json;

std::string now_iso8601() {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  gmtime_r(&now, &utc);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc);
  return text;
}

// JSON has no NaN or infinity: null, as nlohmann_json would write, but said once here.
json number(double value) { return std::isfinite(value) ? json(value) : json(); }

// Seconds since 1970 of a "time" field; now when it is none.
double seconds_of(const std::string& iso8601) {
  std::tm utc{};
  const char* end = ::strptime(iso8601.c_str(), "%Y-%m-%dT%H:%M:%SZ", &utc);
  return static_cast<double>(end != nullptr ? ::timegm(&utc) : std::time(nullptr));
}

// The line's numbers as points of the curves "train/loss", "eval/bleu", …
void append_event(EventFile& events, const json& line) {
  const bool is_eval = line.value("kind", "") == "eval";
  const json values = is_eval ? line.value("metrics", json::object()) : line;
  std::map<std::string, double> points;
  for (const auto& [name, value] : values.items()) {
    const bool is_curve = is_eval || (name != "epoch" && name != "step" && name != "stage");
    if (is_curve && value.is_number()) points[(is_eval ? "eval/" : "train/") + name] = value.get<double>();
  }
  events.scalars(line.value("step", int64_t{0}), seconds_of(line.value("time", "")), points);
}

}  // namespace

MetricsLog::MetricsLog(std::filesystem::path path, int64_t keep_up_to_step, int64_t stage)
    : path_(std::move(path)),
      events_(std::make_unique<EventFile>(path_.has_parent_path() ? path_.parent_path() : ".")),
      stage_(stage) {
  if (!std::filesystem::exists(path_)) return;
  std::string kept;
  for (const auto& line : split(fs::read_file(path_), '\n')) {
    const json object = json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!object.is_object() || object.value("step", int64_t{0}) > keep_up_to_step) continue;
    kept += line + "\n";
    append_event(*events_, object);
  }
  fs::write_file_atomic(path_, kept);
}

MetricsLog::~MetricsLog() = default;

void MetricsLog::append(const std::string& line) {
  std::filesystem::create_directories(path_.parent_path());
  const int fd = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (fd < 0) throw DataError(path_.string() + ": cannot be opened for appending");
  const std::string with_end = line + "\n";
  try {
    fs::write_all(fd, with_end.data(), with_end.size(), path_);
  } catch (...) {
    ::close(fd);
    throw;
  }
  ::close(fd);
  append_event(*events_, json::parse(line));
}

void MetricsLog::train(const TrainLine& line) {
  json object = {{"kind", "train"},
                 {"epoch", line.epoch},
                 {"step", line.step},
                 {"loss", number(line.loss)},
                 {"learning_rate", line.learning_rate},
                 {"grad_norm", number(line.gradient_norm)},
                 {"tokens_per_s", number(line.tokens_per_second)},
                 {"step_ms", number(line.step_ms)},
                 {"memory_bytes", line.memory_bytes},
                 {"time", now_iso8601()}};
  if (stage_ > 0) object["stage"] = stage_;
  append(object.dump());
}

void MetricsLog::eval(int64_t epoch, int64_t step, const std::map<std::string, double>& metrics, double seconds) {
  json values = json::object();
  for (const auto& [name, value] : metrics) values[name] = number(value);
  json object = {{"kind", "eval"},    {"epoch", epoch},     {"step", step},
                 {"metrics", values}, {"seconds", seconds}, {"time", now_iso8601()}};
  if (stage_ > 0) object["stage"] = stage_;
  append(object.dump());
}

std::vector<EvalLine> read_eval_lines(const std::filesystem::path& path) {
  std::vector<EvalLine> lines;
  double loss = std::nan("");
  if (!std::filesystem::exists(path)) return lines;
  for (const auto& text : split(fs::read_file(path), '\n')) {
    const json object = json::parse(text, nullptr, /*allow_exceptions=*/false);
    if (!object.is_object()) continue;
    if (object.contains("loss")) loss = object["loss"].is_number() ? object["loss"].get<double>() : std::nan("");
    if (object.value("kind", "") != "eval") continue;
    EvalLine line{object.value("epoch", int64_t{0}), object.value("step", int64_t{0}), {}, loss};
    const json metrics = object.value("metrics", json::object());  // items() refers to it
    for (const auto& [name, value] : metrics.items()) {
      line.metrics[name] = value.is_number() ? value.get<double>() : std::nan("");
    }
    lines.push_back(std::move(line));
  }
  return lines;
}

const EvalLine* best_evaluation(const std::vector<EvalLine>& lines, const std::string& metric) {
  const EvalLine* best = nullptr;
  for (const auto& line : lines) {
    const auto it = line.metrics.find(metric);
    if (it == line.metrics.end() || std::isnan(it->second)) continue;
    if (best == nullptr || it->second > best->metrics.at(metric)) best = &line;
  }
  return best;
}

}  // namespace mpeft::train
