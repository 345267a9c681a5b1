#include "mpeft/train/interrupt.h"

#include <cerrno>
#include <csignal>
#include <string_view>
#include <unistd.h>

namespace mpeft::train {
namespace {

constexpr std::string_view kNotice = "stopping after this step; once more to end at once\n";

volatile std::sig_atomic_t signalled = 0;

void on_signal(int number) {
  if (signalled != 0) {
    if (number == SIGHUP) return;  // a closed connection sends it more than once
    std::signal(number, SIG_DFL);
    std::raise(number);
    return;
  }
  signalled = 1;
  std::signal(SIGPIPE, SIG_IGN);  // who reads the output may be gone already: the run saves itself all the same
  const int kept = errno;
  if (::isatty(STDERR_FILENO) != 0) (void)!::write(STDERR_FILENO, "\n", 1);  // below the live line
  (void)!::write(STDERR_FILENO, kNotice.data(), kNotice.size());
  errno = kept;
}

}  // namespace

InterruptGuard::InterruptGuard() {
  signalled = 0;
  std::signal(SIGINT, on_signal);
  std::signal(SIGTERM, on_signal);
  if (std::signal(SIGHUP, on_signal) == SIG_IGN) std::signal(SIGHUP, SIG_IGN);  // nohup
}

InterruptGuard::~InterruptGuard() {
  std::signal(SIGINT, SIG_DFL);
  std::signal(SIGTERM, SIG_DFL);
  if (std::signal(SIGHUP, SIG_DFL) == SIG_IGN) std::signal(SIGHUP, SIG_IGN);
}

bool InterruptGuard::requested() { return signalled != 0; }

}  // namespace mpeft::train
