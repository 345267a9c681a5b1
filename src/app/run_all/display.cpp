#include "app/run_all/display.h"

#include <cstdio>
#include <ctime>
#include <sys/ioctl.h>
#include <unistd.h>

#include "mpeft/core/logging.h"
#include "mpeft/core/strings.h"

#include "app/run_all/table.h"

namespace mpeft::app {
namespace {

struct TerminalSize {
  size_t columns = 120, rows = 40;
};

TerminalSize terminal_size() {
  winsize size{};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col < 40 || size.ws_row < 8) return {};
  return {size.ws_col, size.ws_row};
}

std::string local_time() {
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  ::localtime_r(&now, &local);
  char text[16];
  std::strftime(text, sizeof text, "%H:%M:%S", &local);
  return text;
}

}  // namespace

Display::Display(const Schedule& schedule)
    : schedule_(schedule), live_(log::is_interactive() && log::level() <= log::Level::kInfo) {}

Display::~Display() { erase(); }

void Display::event(const Run& run, const std::string& what) {
  if (!live_) log::info(mpeft::str(local_time(), "  ", run.experiment.name, "  ", what));
}

void Display::message(const std::string& text) {
  erase();
  log::info(text);
  refresh();
}

void Display::refresh() {
  if (!live_) return;
  const auto size = terminal_size();
  // The last column stays free: a line that fills it wraps on some terminals, and wrapped lines cannot be rewritten.
  const auto lines = draw_table(schedule_, Run::Clock::now(),
                                {.width = size.columns - 1, .max_rows = size.rows - 5, .colour = log::uses_colours()});
  std::string text = n_drawn_ > 0 ? mpeft::str("\r\x1b[", n_drawn_, "A") : "\r";
  for (const auto& line : lines) text += line + "\x1b[K\n";
  text += "\x1b[J";
  std::fputs(text.c_str(), stderr);
  std::fflush(stderr);
  n_drawn_ = lines.size();
}

void Display::erase() {
  if (n_drawn_ == 0) return;
  std::fprintf(stderr, "\r\x1b[%zuA\x1b[J", n_drawn_);
  std::fflush(stderr);
  n_drawn_ = 0;
}

}  // namespace mpeft::app
