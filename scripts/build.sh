#!/usr/bin/env bash
# Sets up, configures and builds one preset into build/PRESET, executables in build/PRESET/bin.
#
#   scripts/build.sh [PRESET] [TARGET...]      PRESET: release (default), dev, asan, tsan, cuda
#
#   MPEFT_CUDA=ON|OFF|AUTO (AUTO: where there is an NVIDIA GPU)     MPEFT_JOBS=N compilers at once
set -euo pipefail
mpeft_root=$(cd "$(dirname "$0")/.." && pwd)
case ${1:-} in -h | --help) sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
preset=${1:-release}
if [ $# -gt 0 ]; then shift; fi
targets=("$@")
set --  # else a sourced script without arguments of its own would take them for its own
setup_options=()
case $preset in
  cuda) export MPEFT_CUDA=ON; setup_options=(--bench) ;;
  asan | tsan) export MPEFT_CUDA=${MPEFT_CUDA:-OFF} ;;
esac
. "$mpeft_root/scripts/lib/ui.sh"
. "$mpeft_root/scripts/lib/build.sh"
export MPEFT_STEPS=3 MPEFT_STEP=0
ui_say "${ui_bold}mamba-peft build $preset${ui_reset}"
. "$mpeft_root/scripts/setup.sh" "${setup_options[@]}"
interruptible
build_step "$preset" "${targets[@]}"
ui_say "executables: build/$preset/bin"
