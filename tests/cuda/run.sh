#!/usr/bin/env bash
# Builds and runs the bare kernel test on a machine with a GPU and nvcc: correctness, times, compute-sanitizer, spills.
# Usage: tests/cuda/run.sh [OUTPUT_FOLDER]      (logs go there; ARCH and OUT as in tests/cuda/Makefile)
set -uo pipefail
cd "$(dirname "$0")/../.."
out=${1:-build/kernel_check}
mkdir -p "$out"
PATH=$PATH:/usr/local/cuda/bin
build=${OUT:-build/kernel_check}
arch=${ARCH:-native}
# what native leaves out: kernels/common/move_registers.cuh
[[ $arch == native && $(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -1) == 9.0 ]] && arch=sm_90a
make -k -f tests/cuda/Makefile -j "$(nproc)" ARCH="$arch" OUT="$build" > "$out/build.log" 2>&1 ||
  { tail -40 "$out/build.log"; exit 1; }
check=$build/kernel_check
status=0
"$check" check grid repeats > "$out/check.log" 2>&1 || status=1
tail -80 "$out/check.log"
"$check" time 2>&1 | tee "$out/time.log" || status=1
if command -v compute-sanitizer > /dev/null; then
  for tool in memcheck racecheck; do
    [[ $tool == memcheck ]] && cases=small || cases=smallest  # racecheck is slow
    compute-sanitizer --tool "$tool" --error-exitcode 1 "$check" "$cases" roles > "$out/$tool.log" 2>&1 || status=1
    echo "$tool: $(tail -1 "$out/$tool.log")"
  done
fi
echo "kernels that spill:"
grep -hE "Compiling entry|spill stores" "$build"/kernels/*/*.log |
  awk '/Compiling/ { split($0, q, "\x27"); kernel = q[2] } / [1-9][0-9]* bytes spill stores/ { print $5 " bytes:", kernel }' |
  sort -rn | uniq | head -20
exit $status
