#!/usr/bin/env bash
# Formats all C++ and CUDA sources with clang-format 14 (other versions format some lines differently).
#
#   scripts/format.sh [--check] [FILE...]      --check changes nothing and lists what would change
set -euo pipefail
cd "$(dirname "$0")/.."
check=false
case ${1:-} in
  --check) check=true; shift ;;
  -h | --help) sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit 0 ;;
esac
find_tool() { command -v clang-format-14 || { clang-format --version 2>/dev/null | grep -q 'version 14\.' && command -v clang-format; }; }
if ! find_tool >/dev/null; then MPEFT_STEPS=2 scripts/setup.sh --lint; fi
tool=$(find_tool) || { echo "clang-format 14 is missing: apt-get install clang-format-14 (or pip install clang-format==14.0.6)" >&2; exit 1; }

files=("$@")
if [ ${#files[@]} -eq 0 ]; then
  # Tracked and new files alike; where git is not at work (an unpacked archive), all.
  mapfile -t files < <({ git ls-files --cached --others --exclude-standard 2>/dev/null || find include src kernels tests -type f; } |
    grep -E '^(include|src|kernels|tests)/.*\.(h|cpp|cu|cuh)$' | sort -u | while IFS= read -r f; do [ -f "$f" ] && echo "$f"; done)
fi
if $check; then
  mapfile -t bad < <(printf '%s\0' "${files[@]}" | { xargs -0 -n 16 -P "$(nproc)" "$tool" --style=file --dry-run -Werror 2>&1 || true; } |
    sed -nE 's/^([^:]+):[0-9]+:[0-9]+: error: .*/\1/p' | sort -u)
  if [ ${#bad[@]} -gt 0 ]; then
    printf 'not formatted: %s\n' "${bad[@]}" >&2
    echo "scripts/format.sh formats them." >&2
    exit 1
  fi
  echo "format: ${#files[@]} files are formatted"
else
  "$tool" --style=file -i "${files[@]}"
fi
