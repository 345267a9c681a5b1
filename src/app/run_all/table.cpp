#include "app/run_all/table.h"

#include <algorithm>
#include <array>
#include <cctype>

#include "mpeft/core/strings.h"

namespace mpeft::app {
namespace {

// Cells of a text: code points, all that is drawn here is one cell wide.
size_t cells(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

// The first `n` cells.
std::string_view first_cells(std::string_view text, size_t n) {
  size_t i = 0;
  for (size_t seen = 0; i < text.size(); ++i) {
    if ((text[i] & 0xC0) != 0x80 && seen++ == n) break;
  }
  return text.substr(0, i);
}

std::string cut(const std::string& text, size_t width) {
  if (cells(text) <= width) return text;
  return width == 0 ? "" : std::string(first_cells(text, width - 1)) + "…";
}

// Names of one study differ at their ends: the middle goes.
std::string cut_middle(const std::string& text, size_t width) {
  const size_t n = cells(text);
  if (n <= width) return text;
  if (width < 5) return cut(text, width);
  const size_t head = (width - 1) / 3, tail = width - 1 - head;
  return std::string(first_cells(text, head)) + "…" + text.substr(first_cells(text, n - tail).size());
}

std::string pad_right(const std::string& text, size_t width) {
  const size_t n = cells(text);
  return n >= width ? text : text + std::string(width - n, ' ');
}

std::string pad_left(const std::string& text, size_t width) {
  const size_t n = cells(text);
  return n >= width ? text : std::string(width - n, ' ') + text;
}

std::string device_name(const std::string& device) { return isdigit(device[0]) != 0 ? "cuda:" + device : device; }

// "01:23:45" or "23:45".
std::string clock_text(double seconds) {
  const auto whole = static_cast<int64_t>(std::max(0.0, seconds));
  const auto two = [](int64_t n) { return (n < 10 ? "0" : "") + std::to_string(n); };
  const std::string short_form = two(whole / 60 % 60) + ":" + two(whole % 60);
  return whole >= 3600 ? two(whole / 3600) + ":" + short_form : short_form;
}

std::string metric_text(const RunProgress& progress) {
  return progress.metric_name.empty() ? "-" : progress.metric_name + " " + fixed(progress.metric, 3);
}

std::string loss_text(const RunProgress& progress) { return progress.epoch == 0 ? "-" : fixed(progress.loss, 3); }

double seconds_of(const Run& run, Run::Clock::time_point now) {
  const double now_running =
      run.state == RunState::kRunning ? std::chrono::duration<double>(now - run.begin).count() : 0;
  return run.seconds + now_running;
}

std::array<std::string, 7> cells_of(const Run& run, Run::Clock::time_point now) {
  const bool has_run = run.n_attempts > 0 && run.state != RunState::kTaken;
  return {
      run.state == RunState::kRunning ? run.device : "-",
      run.experiment.name,
      has_run && run.progress.epoch > 0 ? mpeft::str(run.progress.epoch, "/", run.experiment.num_epochs) : "-",
      has_run ? loss_text(run.progress) : "-",
      has_run ? metric_text(run.progress) : "-",
      has_run ? clock_text(seconds_of(run, now)) : "-",
      state_text(run) + (run.state == RunState::kRunning && run.eta ? ", " + human_duration(*run.eta) + " left" : "")};
}

constexpr std::array<const char*, 7> kHeads = {"device", "experiment", "epoch", "loss", "metric", "time", "state"};
constexpr size_t kNumbersFrom = 2, kMetric = 4, kState = 6;

const char* colour_of(RunState state) {
  switch (state) {
    case RunState::kDone:
      return "\x1b[32m";
    case RunState::kFailed:
      return "\x1b[31m";
    case RunState::kInterrupted:
      return "\x1b[33m";
    case RunState::kRunning:
      return "\x1b[1m";
    default:
      return "\x1b[2m";
  }
}

// What is worth a row when not all fit: what runs, what failed, what ended, what comes next.
int rank_of(RunState state) {
  switch (state) {
    case RunState::kRunning:
      return 0;
    case RunState::kFailed:
    case RunState::kInterrupted:
      return 1;
    case RunState::kDone:
      return 2;
    case RunState::kWaiting:
      return 3;
    default:
      return 4;
  }
}

}  // namespace

std::string state_text(const Run& run) {
  switch (run.state) {
    case RunState::kWaiting:
      return run.n_attempts > 0 ? mpeft::str("waiting to try again (", run.note, ")") : "waiting";
    case RunState::kRunning:
      return run.n_attempts > 1 ? mpeft::str("running (attempt ", run.n_attempts, ")") : "running";
    case RunState::kDone:
      return "done";
    case RunState::kFinishedBefore:
      return "skipped: finished before";
    case RunState::kTaken:
      return "skipped: another process runs it";
    case RunState::kFailed:
      return "failed: " + run.note;
    case RunState::kInterrupted:
      return "interrupted; --resume goes on";
    case RunState::kNotStarted:
      return "not started";
  }
  return "";
}

std::string progress_text(const Run& run) {
  std::string text;
  if (run.progress.epoch > 0) {
    text = mpeft::str("epoch ", run.progress.epoch, "/", run.experiment.num_epochs, "  loss ", loss_text(run.progress));
  }
  if (!run.progress.metric_name.empty()) text += (text.empty() ? "" : "  ") + metric_text(run.progress);
  if (run.progress.n_evaluations > 1) {
    text += mpeft::str(" (best ", fixed(run.progress.best_metric, 3), ", epoch ", run.progress.best_epoch, ")");
  }
  return text;
}

std::string headline(const Schedule& schedule, Run::Clock::time_point now) {
  const RunCounts counts = schedule.counts();
  const size_t n = schedule.runs().size();
  std::vector<std::string> devices;
  for (const auto& device : schedule.devices()) devices.push_back(device_name(device));
  std::string text =
      mpeft::str("run_all  ", n, n == 1 ? " experiment on " : " experiments on ", join(devices, ", "), "  ");
  const auto count = [&](const char* name, int64_t number) {
    if (number > 0) text += mpeft::str("   ", name, " ", number);
  };
  count("done", counts.done);
  count("running", counts.running);
  count("waiting", counts.waiting);
  count("skipped", counts.skipped);
  count("failed", counts.failed);
  count("interrupted", counts.interrupted);
  count("not started", counts.not_started);
  if (counts.running + counts.waiting > 0) {
    const auto eta = schedule.eta(now);
    text += "   eta " + (eta ? human_duration(*eta) : "?");
  }
  return text;
}

std::vector<std::string> draw_table(const Schedule& schedule, Run::Clock::time_point now, const TableStyle& style) {
  std::vector<const Run*> shown;
  for (const Run& run : schedule.runs()) shown.push_back(&run);
  if (shown.size() > style.max_rows) {
    std::stable_sort(shown.begin(), shown.end(),
                     [](const Run* a, const Run* b) { return rank_of(a->state) < rank_of(b->state); });
    shown.resize(style.max_rows);
    std::sort(shown.begin(), shown.end());  // the order of the list again
  }

  std::vector<std::array<std::string, 7>> rows;
  std::array<size_t, 7> widths{};
  for (size_t c = 0; c < kHeads.size(); ++c) widths[c] = cells(kHeads[c]);
  for (const Run* run : shown) {
    rows.push_back(cells_of(*run, now));
    for (size_t c = 0; c < kHeads.size(); ++c) widths[c] = std::max(widths[c], cells(rows.back()[c]));
  }
  // The name gives way to the rest, the state is what is cut at the end of the line.
  size_t rest = 2 * kHeads.size();
  for (size_t c = 0; c < kState; ++c) rest += c == 1 ? 0 : widths[c];
  const size_t state_width = std::min<size_t>(widths[kState], 30);
  const size_t for_name = style.width > rest + state_width ? style.width - rest - state_width : 0;
  widths[1] = std::min(widths[1], std::max<size_t>(for_name, 16));

  const auto draw = [&](const auto& row, const char* colour) {
    std::string line = " ";
    for (size_t c = 0; c < kState; ++c) {
      const std::string cell = c == 1 ? cut_middle(row[c], widths[c]) : std::string(row[c]);
      line += " " + (c >= kNumbersFrom && c != kMetric ? pad_left(cell, widths[c]) : pad_right(cell, widths[c])) + " ";
    }
    const size_t used = cells(line) + 1;
    if (used >= style.width) return cut(line, style.width);
    const std::string state = cut(row[kState], style.width - used);
    return line + " " + (style.colour ? colour + state + "\x1b[0m" : state);
  };
  std::vector<std::string> lines = {cut(headline(schedule, now), style.width), draw(kHeads, "")};
  for (size_t i = 0; i < rows.size(); ++i) lines.push_back(draw(rows[i], colour_of(shown[i]->state)));
  if (shown.size() < schedule.runs().size()) {
    lines.push_back(cut(mpeft::str("  … and ", schedule.runs().size() - shown.size(), " more"), style.width));
  }
  return lines;
}

}  // namespace mpeft::app
