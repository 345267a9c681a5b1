#!/usr/bin/env bash
# shellcheck disable=SC2154  # set by setup.sh
# clang-tidy over the files that differ from the main branch (uncommitted ones included), or over all.
#
#   scripts/lint.sh [--all] [FILE...]
set -euo pipefail
cd "$(dirname "$0")/.."
case ${1:-} in -h | --help) sed -n '3,/^set/s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
MPEFT_STEPS=2 MPEFT_STEP=0
export MPEFT_STEPS MPEFT_STEP
. scripts/setup.sh --lint
[ -e build/dev/build.ninja ] || cmake --preset dev -DLibTorch_ROOT="$LibTorch_ROOT" -DMPEFT_CUDA="$MPEFT_CUDA" >/dev/null

if [ "${1:-}" = --all ]; then
  mapfile -t files < <(git ls-files 'src/*.cpp' 'kernels/*.cpp')
elif [ $# -gt 0 ]; then
  files=("$@")
else
  base=$(git merge-base HEAD origin/main 2>/dev/null || git rev-parse HEAD~1 2>/dev/null || git rev-parse HEAD)
  mapfile -t files < <({ git diff --name-only --diff-filter=d "$base"; git ls-files --others --exclude-standard; } | grep -E '^(src|kernels)/.*\.cpp$' | sort -u)
fi
if [ ${#files[@]} -eq 0 ]; then echo "lint: no C++ file has changed"; exit 0; fi

# The compilation database for clang: without g++'s precompiled header, which clang cannot read, and its options.
mkdir -p build/lint
python3 - build/dev/compile_commands.json build/lint/compile_commands.json <<'PY'
import json, re, sys
commands = json.load(open(sys.argv[1]))
for entry in commands:
    words = entry["command"]
    words = re.sub(r"-include \S*cmake_pch\.hxx", "", words)
    words = re.sub(r"(^|\s)(-fpch-preprocess|-Winvalid-pch|-Wno-restrict|-Werror|-mprefer-vector-width=\d+)(?=\s)", " ", words)
    entry["command"] = re.sub(r"^.*?(?=\S*(g\+\+|c\+\+)(-\d+)?\s)", "", words)
json.dump([e for e in commands if not e["file"].endswith(".cu")], open(sys.argv[2], "w"))
PY
echo "lint: ${#files[@]} files"
printf '%s\0' "${files[@]}" | xargs -0 -P "$(nproc)" -n 1 clang-tidy-14 -p build/lint --quiet --warnings-as-errors='*'
echo "lint: clean"
