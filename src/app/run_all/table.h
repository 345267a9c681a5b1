#pragma once

#include <string>
#include <vector>

#include "app/run_all/schedule.h"

namespace mpeft::app {

/// How a table of runs is drawn.
struct TableStyle {
  size_t width = 120;          ///< of the terminal, in cells; longer lines are cut
  size_t max_rows = SIZE_MAX;  ///< rows of runs; which are left out is said in a last line
  bool colour = false;
};

/// "run_all  12 experiments on 0, 1   done 5   running 2 …   eta 2 h 10 min".
std::string headline(const Schedule& schedule, Run::Clock::time_point now);

/// The headline and a row for each run, those that run first when not all fit.
std::vector<std::string> draw_table(const Schedule& schedule, Run::Clock::time_point now, const TableStyle& style);

/// "epoch 3/10  loss 0.211  execution 0.561", as far as it is known.
std::string progress_text(const Run& run);

/// "running", "failed: …".
std::string state_text(const Run& run);

}  // namespace mpeft::app
