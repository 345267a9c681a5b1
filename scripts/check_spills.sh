#!/usr/bin/env bash
# Fails when a kernel of the selective scan spills more than 16 bytes of registers: the recurrences live in registers, and a
# compiler that runs out of them costs more than it says.
# Usage: scripts/check_spills.sh [ARCH...]        (default: sm_90; NVCC names the compiler, JOBS how many run at a time)
set -euo pipefail
cd "$(dirname "$0")/.."

readonly LIMIT=16
archs=("$@")
[[ ${#archs[@]} -gt 0 ]] || archs=(sm_90)
nvcc=${NVCC:-$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)}
[[ -x $nvcc ]] || { echo "check_spills: no nvcc on the PATH or in /usr/local/cuda; set NVCC" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

report() {  # ARCH SOURCE: ptxas's report on every kernel of the file
  "$nvcc" -std=c++17 -O3 -arch="$1" -I. -Xptxas -v -c "$2" -o /dev/null > "$work/$1.$(basename "$2").log" 2>&1 ||
    { echo "check_spills: $2 does not compile for $1:" >&2; cat "$work/$1.$(basename "$2").log" >&2; exit 1; }
}
export -f report
export nvcc work

for arch in "${archs[@]}"; do
  printf '%s\n' kernels/selective_scan/*.cu | xargs -P "${JOBS:-2}" -I{} bash -c 'report "$@"' _ "$arch" {}
done

awk -v limit="$LIMIT" '
  /Compiling entry function/ { split($0, quoted, "\x27"); kernel = quoted[2]; arch = quoted[4] }
  /bytes spill stores/ {
    kernels++
    for (i = 1; i <= NF; i++) if ($i == "bytes" && $(i + 1) == "spill" && $(i + 2) ~ /^stores/) spilled = $(i - 1)
    if (spilled > limit) { bad++; printf "%s: %s spills %d bytes (limit %d)\n", arch, kernel, spilled, limit }
  }
  END {
    if (kernels == 0) { print "check_spills: found no kernel in the compiler\x27s report"; exit 1 }
    printf "check_spills: %d kernels, %d above the limit\n", kernels, bad
    exit bad > 0
  }' "$work"/*.log | (c++filt -n 2> /dev/null || cat)
exit "${PIPESTATUS[0]}"
