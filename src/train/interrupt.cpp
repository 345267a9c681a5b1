#include "mpeft/train/interrupt.h"

#include <csignal>

namespace mpeft::train {
namespace {

volatile std::sig_atomic_t signalled = 0;

void on_signal(int number) {
  if (signalled != 0) {
    std::signal(number, SIG_DFL);
    std::raise(number);
  }
  signalled = 1;
}

}  // namespace

InterruptGuard::InterruptGuard() {
  signalled = 0;
  std::signal(SIGINT, on_signal);
  std::signal(SIGTERM, on_signal);
}

InterruptGuard::~InterruptGuard() {
  std::signal(SIGINT, SIG_DFL);
  std::signal(SIGTERM, SIG_DFL);
}

bool InterruptGuard::requested() { return signalled != 0; }

}  // namespace mpeft::train
