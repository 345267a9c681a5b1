#pragma once

#include <string>

#include "app/run_all/schedule.h"

namespace mpeft::app {

/// Shows on standard error how runs go: on a terminal a table that is redrawn in place, elsewhere a line an event.
class Display {
 public:
  explicit Display(const Schedule& schedule);
  ~Display();
  Display(const Display&) = delete;
  Display& operator=(const Display&) = delete;

  /// Something happened to a run: "started on 0", "epoch 2/10  loss 0.640", "done". A line where there is no table.
  void event(const Run& run, const std::string& what);
  /// What is said in either case, above the table.
  void message(const std::string& text);
  /// Redraws the table.
  void refresh();

 private:
  void erase();

  const Schedule& schedule_;
  bool live_;
  size_t n_drawn_ = 0;  // lines of the table that stand on the terminal
};

}  // namespace mpeft::app
