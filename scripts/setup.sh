#!/usr/bin/env bash
# shellcheck disable=SC2034,SC2154  # variables are shared with scripts/lib
# Installs what the build needs and is not there: Debian or Ubuntu packages (as root or with sudo), and into a per-user
# cache folder LibTorch, CMake, Ninja and, for CUDA, nvcc. Says before what it will do; quick when all is there.
#
#   scripts/setup.sh [--checks] [--lint] [--bench] [--dry-run]
#   source scripts/setup.sh             the same, and sets PATH, LibTorch_ROOT and CUDACXX in this shell
#
#   --checks   also the Python packages that the conformance tests compare with (their interpreter: MPEFT_CHECKS_PYTHON)
#   --lint     also clang-format and clang-tidy         --bench    also Google Benchmark
#   --dry-run  only say what would be installed
#
#   MPEFT_CUDA=ON|OFF|AUTO   with the CUDA compiler and libraries (AUTO: where there is an NVIDIA GPU)
#   Torch_DIR, CMAKE_PREFIX_PATH, the active python3's torch: a LibTorch 2.6 or newer that is used instead
#   CUDACXX, nvcc on the PATH, /usr/local/cuda: a CUDA toolkit 12.4 or newer that is used instead
#   XDG_CACHE_HOME           the cache folder's parent (default ~/.cache)       MPEFT_PYTHON   the interpreter to use

if [ "${BASH_SOURCE[0]}" != "$0" ]; then
  # Sourced: the work is done by a child, so that its options, traps and functions stay out of this shell.
  mpeft_env_file=$(mktemp) || return
  if MPEFT_ENV_FILE=$mpeft_env_file bash "${BASH_SOURCE[0]}" "$@"; then
    # shellcheck disable=SC1090
    . "$mpeft_env_file"
    rm -f "$mpeft_env_file"
    unset mpeft_env_file
    return 0
  else
    set -- $?
    rm -f "$mpeft_env_file"
    unset mpeft_env_file
    return "$1"
  fi
fi

set -euo pipefail
mpeft_root=$(cd "$(dirname "$0")/.." && pwd)
for part in ui detect packages toolchain; do
  # shellcheck disable=SC1090
  . "$mpeft_root/scripts/lib/$part.sh"
done

mpeft_cache=${XDG_CACHE_HOME:-$HOME/.cache}/mamba-peft
mpeft_toolchain=$mpeft_cache/toolchain
mpeft_unfinished=
want_checks=false want_lint=false want_bench=false dry_run=false
for argument in "$@"; do
  case $argument in
    --checks) want_checks=true ;;
    --lint) want_lint=true ;;
    --bench) want_bench=true ;;
    --dry-run) dry_run=true ;;
    -h | --help) sed -n '3,/^$/s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) ui_die "unknown option '$argument'." "scripts/setup.sh --help lists them." ;;
  esac
done
part_of_more=true
if [ -z "${MPEFT_STEPS:-}" ]; then
  part_of_more=false
  export MPEFT_STEPS=2
  if $want_checks; then MPEFT_STEPS=3; fi
fi

clean_up() {
  ui_stop_watch
  if [ -n "$mpeft_unfinished" ]; then rm -rf "$mpeft_unfinished"; fi
}
interrupted() {
  clean_up
  mpeft_unfinished=
  printf 'interrupted; nothing half-made is left, and the next run goes on from here.\n' >&2
  exit 130
}
trap clean_up EXIT
trap interrupted INT TERM HUP

case ${MPEFT_CUDA:-AUTO} in
  ON | on | 1) want_cuda=true gpu_label="CUDA build (MPEFT_CUDA=ON)" ;;
  OFF | off | 0) want_cuda=false gpu_label="CPU build (MPEFT_CUDA=OFF)" ;;
  AUTO | auto)
    if have_gpu; then want_cuda=true gpu_label="GPU: $(nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null | sort | uniq -c | awk '{ n = $1; $1 = ""; print n " x" $0 }' | head -1), CUDA build"
    else want_cuda=false gpu_label="GPU: none found, CPU build"; fi ;;
  *) ui_die "MPEFT_CUDA=$MPEFT_CUDA: expected ON, OFF or AUTO." ;;
esac

# What there is, and what is wanted from the cache folder.
detect_python
detect_torch
components=()
cuda_major=13
if [ -n "$torch_root" ]; then
  torch_label="$(torch_version "$torch_root") ($torch_from: $(ui_tilde "$torch_root"))"
  if $want_cuda; then cuda_major=$(torch_cuda_major "$torch_root"); fi
else
  if $want_cuda; then components+=(torch-cuda); else components+=(torch-cpu); fi
fi
nvcc=
if $want_cuda && ! toolchain_holds nvcc; then detect_nvcc "$cuda_major"; fi
if $want_cuda && [ -z "$nvcc" ]; then
  if [ "$cuda_major" != 13 ]; then
    ui_die "the LibTorch of $torch_from was built with CUDA $cuda_major, and no nvcc of that version (12.4 or newer) was found." \
      "Name one with CUDACXX=PATH/nvcc, or hide that LibTorch from this script: it then installs its own with CUDA 13."
  fi
  components+=(nvcc)
fi
if toolchain_holds tools || ! have_build_tools; then components+=(tools); fi
toolchain_plan "${components[@]}"
need_venv=false
if ((${#plan[@]} > 0)) || $want_checks; then need_venv=true; fi
pkg_find_missing

# Say so before.
plan_label=''
for component in "${plan[@]}"; do
  case $component in
    torch-*) plan_label+=", LibTorch" ;;
    nvcc) plan_label+=", nvcc" ;;
    tools) plan_label+=", CMake, Ninja" ;;
  esac
done
plan_label=${plan_label#, }
if [[ $plan_label == *,* ]]; then plan_label="${plan_label%, *} and ${plan_label##*, }"; fi
if [ -z "$torch_root" ]; then
  if toolchain_holds torch-cpu && ! [[ " ${plan[*]-} " == *" torch-c"* ]]; then
    torch_label="2.11.0 ($(ui_tilde "$mpeft_toolchain"))"
  else
    torch_label=missing
  fi
fi
needs="g++ $(have_compiler && echo "$ui_yes" || echo missing)   python3 $ui_yes   "
needs+="Debian packages: $( ((${#pkg_missing[@]})) && echo "${#pkg_missing[@]} missing" || echo "$ui_yes")   "
if [ "$torch_label" = missing ]; then needs+="LibTorch 2.11.0: missing"; else needs+="LibTorch ${torch_label/ /: $ui_yes }"; fi
ui_fact needs "$needs   $gpu_label"
if ((${#pkg_missing[@]} + ${#plan[@]} > 0)); then
  will=''
  if ((${#pkg_missing[@]} > 0)); then
    weight=$(pkg_weight || true)
    will="install ${#pkg_missing[@]} packages with apt$(pkg_notes "$weight")"
  fi
  if ((${#plan[@]} > 0)); then
    will+="${will:+, }put $plan_label into $(ui_tilde "$mpeft_cache") ($(ui_size "$(plan_mb component_mb)"); $(ui_size "$(ui_free_mb "$mpeft_cache")") free)"
  fi
  ui_fact will "$will"
  if ((${#pkg_missing[@]} > 0)); then ui_fact '' "packages: ${pkg_missing[*]}"; fi
fi
if ! have dpkg-query; then pkg_no_apt; fi
if $dry_run; then exit 0; fi

# Do it.
if ((${#plan[@]} > 0)); then
  peak=$(($(plan_mb component_mb) + $(plan_mb component_fetch_mb)))
  if (($(ui_free_mb "$mpeft_cache") < peak)); then
    ui_die "the disk is too full: $(ui_size $peak) are needed while installing, $(ui_size "$(ui_free_mb "$mpeft_cache")") are free at $(ui_tilde "$mpeft_cache")." \
      "Free some space, or put the cache elsewhere with XDG_CACHE_HOME=FOLDER."
  fi
fi
if ((${#pkg_missing[@]} > 0)); then pkg_sudo; fi
mkdir -p "$mpeft_cache/log"
if have flock; then  # two set-ups at once would install twice; the second finds all there
  exec 9> "$mpeft_cache/lock"
  if ! flock -n 9; then
    ui_say "another set-up is running: waiting for it $ui_ellipsis"
    flock 9
    toolchain_plan "${components[@]}"
    pkg_find_missing
  fi
fi
remove_leftovers
pkg_step
have_compiler || ui_die "no C++20 compiler: g++ 11 or newer is wanted." "Install a newer one and name it with CXX=g++-12."
toolchain_step
if [ -z "$torch_root" ]; then torch_root=$(toolchain_torch_root); fi
if $want_cuda && [ -z "$nvcc" ]; then nvcc=$(toolchain_nvcc); fi
if $want_checks; then checks_step; fi

if [ -n "${MPEFT_ENV_FILE:-}" ]; then
  {
    if [ -d "$mpeft_toolchain/tools" ] && toolchain_holds tools; then
      case ":$PATH:" in *":$mpeft_toolchain/tools:"*) ;; *) printf 'export PATH=%q:"$PATH"\n' "$mpeft_toolchain/tools" ;; esac
    fi
    printf 'export LibTorch_ROOT=%q\n' "$torch_root"
    if $want_cuda; then printf 'export CUDACXX=%q\nMPEFT_CUDA=ON\n' "$nvcc"; else printf 'MPEFT_CUDA=OFF\n'; fi
    if $want_checks; then printf 'export MPEFT_CHECKS_PYTHON=%q\n' "$mpeft_cache/checks/bin/python"; fi
    if $part_of_more; then printf 'export MPEFT_STEP=%q\n' "${MPEFT_STEP:-0}"; fi
  } > "$MPEFT_ENV_FILE"
else
  ui_say "ready: LibTorch in $(ui_tilde "$torch_root")$($want_cuda && echo ", nvcc in $(ui_tilde "$nvcc")"). Next: scripts/build.sh, or  source scripts/setup.sh  for cmake on your PATH."
fi
