#!/usr/bin/env bash
# Sets up, builds the preset dev and runs all tests; ends with ctest's summary.
#
#   scripts/test.sh [CTEST-OPTION...]      e.g. -L unit, -R tokenizer, -LE slow
#
#   MPEFT_CUDA=ON       also compiles all CUDA code (nvcc is installed when there is none)
#   MPEFT_DATA_ROOT     real data sets; tests that need them are skipped without
#   MPEFT_CHECKS=ON     also the tests that compare with Python packages (installed into an environment of their own)
set -euo pipefail
mpeft_root=$(cd "$(dirname "$0")/.." && pwd)
case ${1:-} in -h | --help) sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
. "$mpeft_root/scripts/lib/ui.sh"
. "$mpeft_root/scripts/lib/build.sh"
export MPEFT_STEP=0 MPEFT_STEPS=4
setup_options=()
if [ "${MPEFT_CHECKS:-OFF}" = ON ]; then setup_options=(--checks); MPEFT_STEPS=5; fi
ui_say "${ui_bold}mamba-peft tests${ui_reset}"
. "$mpeft_root/scripts/setup.sh" "${setup_options[@]}"
interruptible
build_step dev
ui_step_head tests
ui_say "$ui_head"
# Tests run side by side, each with its own threads: spinning at barriers would take the time from the others.
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}
status=0
(cd "$mpeft_root" && ctest --test-dir build/dev --output-on-failure --parallel "${MPEFT_JOBS:-$(nproc)}" "$@") || status=$?
exit $status
