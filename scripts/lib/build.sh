# shellcheck shell=bash disable=SC2034,SC2154  # variables are shared with the other parts
# Configuring and building a preset as one step. Sourced by build.sh, test.sh and quickstart.sh after setup.sh.

# Two compilers' memory: a file with LibTorch's headers takes up to 1.5 GB.
build_jobs() {
  local cores gigabytes
  cores=$(nproc)
  gigabytes=$(awk '/^MemAvailable:/ { print int($2 / 1500000) }' /proc/meminfo)
  echo $((gigabytes < 1 ? 1 : gigabytes < cores ? gigabytes : cores))
}

configure_and_build() {  # PRESET TARGET... (all when there is none)
  local preset=$1 folder=$mpeft_root/build/$1 cuda=(-DMPEFT_CUDA="$MPEFT_CUDA")
  shift
  case $preset in asan | tsan) cuda=() ;; esac
  cmake --preset "$preset" -S "$mpeft_root" -DLibTorch_ROOT="$LibTorch_ROOT" "${cuda[@]}" || return
  NINJA_STATUS='[%f/%t] ' cmake --build "$folder" --parallel "${MPEFT_JOBS:-$(build_jobs)}" ${1:+--target "$@"}
}

# build_step PRESET TARGET...: on failure the compiler's words, and where the rest is.
build_step() {
  local preset=$1 log=$mpeft_root/build/log/$1.log
  ui_step "build $preset" "$log" configure_and_build "$@" && return
  if grep -qa '^FAILED:' "$log"; then
    sed -n '/^FAILED:/,$p' "$log" | grep -avE '^\[[0-9]+/[0-9]+\]|^(ccache |/usr/bin/)?[^ ]*(g\+\+|c\+\+|nvcc) |^: && ' | head -n 60 >&2
  else
    tail -n 40 "$log" >&2
  fi
  if grep -qa 'Killed signal\|cannot allocate memory' "$log"; then
    ui_die "the build ran out of memory." "Fewer files at once need less: MPEFT_JOBS=1 $0"
  elif grep -qai 'no space left' "$log"; then
    ui_die "the build: the disk is full." "free: $(ui_size "$(ui_free_mb "$mpeft_root")") at $mpeft_root; a build of one preset takes up to 3 GB."
  fi
  ui_die "the build failed (see above)." "log: ${log#"$mpeft_root"/}"
}

# tree_step_traps: Ctrl-C while building or training: ninja and train clean up after themselves.
interruptible() {
  trap ui_stop_watch EXIT
  trap 'ui_stop_watch; printf "interrupted; the next run goes on from here.\n" >&2; exit 130' INT TERM HUP
}
