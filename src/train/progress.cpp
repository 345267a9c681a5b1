#include "mpeft/train/progress.h"

#include <algorithm>
#include <cstdio>
#include <sys/ioctl.h>
#include <unistd.h>

#include "mpeft/core/logging.h"
#include "mpeft/core/strings.h"

namespace mpeft::train {
namespace {

constexpr double kLiveInterval = 0.1, kPlainInterval = 5.0;  // seconds

double seconds_between(std::chrono::steady_clock::time_point a, std::chrono::steady_clock::time_point b) {
  return std::chrono::duration<double>(b - a).count();
}

// Width of the terminal, so that a long line is cut instead of wrapped (a wrapped line cannot be rewritten).
size_t terminal_width() {
  winsize size{};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20 ? size.ws_col : 120;
}

std::string bar(double fraction) {
  constexpr int kCells = 24;
  const int full = std::clamp(static_cast<int>(fraction * kCells), 0, kCells);
  std::string text;
  for (int i = 0; i < kCells; ++i) text += i < full ? "━" : (i == full ? "╸" : "─");
  return text;
}

}  // namespace

Progress::Progress(std::string label, int64_t total, int64_t done, int64_t after)
    : label_(std::move(label)),
      total_(total),
      done_before_(done),
      after_(after),
      begin_(Clock::now()),
      last_shown_(begin_) {}

Progress::~Progress() { clear(); }

bool Progress::is_due() const {
  if (log::level() > log::Level::kInfo) return false;
  return seconds_between(last_shown_, Clock::now()) >= (log::is_interactive() ? kLiveInterval : kPlainInterval);
}

double Progress::seconds_left(double seconds, int64_t done) const {
  if (done <= done_before_) return -1;
  return seconds / static_cast<double>(done - done_before_) * static_cast<double>(total_ - done + after_);
}

void Progress::update(int64_t done, const std::string& details) {
  if (!is_due()) return;
  last_shown_ = Clock::now();
  const double fraction = total_ > 0 ? static_cast<double>(done) / static_cast<double>(total_) : 1.0;
  const double left = seconds_left(seconds_between(begin_, last_shown_), done);
  const std::string eta = left < 0 ? "?" : human_duration(left);
  const std::string counts = str(with_thousands(done), "/", with_thousands(total_));
  if (!log::is_interactive()) {
    log::info(str(label_, "  ", fixed(100 * fraction, 0), " %  ", counts, "  ", details, "  eta ", eta));
    return;
  }
  const std::string tail = str("  ", fixed(100 * fraction, 0), " %  ", counts, "  ", details, "  eta ", eta);
  std::string line = label_ + "  " + bar(fraction) + tail;
  if (label_.size() + 26 + tail.size() > terminal_width()) line = (label_ + tail).substr(0, terminal_width() - 1);
  std::fprintf(stderr, "\r\x1b[K%s", line.c_str());
  std::fflush(stderr);
  shown_ = true;
}

void Progress::clear() {
  if (!shown_) return;
  std::fprintf(stderr, "\r\x1b[K");
  std::fflush(stderr);
  shown_ = false;
}

}  // namespace mpeft::train
