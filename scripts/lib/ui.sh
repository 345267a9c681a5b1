# shellcheck shell=bash disable=SC2034,SC2088,SC2154  # variables are shared with the other parts
# What the scripts print: aligned facts, steps that move while they wait, errors that say what to do. Sourced, never run.
#
# A step runs its command in the foreground, output to a log, while a watcher in the background draws the line: so Ctrl-C
# reaches the command (sudo included) first and this shell's traps after it.

ui_is_tty() { [ -t 1 ] && [ "${TERM:-dumb}" != dumb ]; }

if ui_is_tty && [ -z "${NO_COLOR:-}" ]; then
  ui_bold=$'\e[1m' ui_dim=$'\e[2m' ui_red=$'\e[31m' ui_green=$'\e[32m' ui_reset=$'\e[0m'
else
  ui_bold='' ui_dim='' ui_red='' ui_green='' ui_reset=''
fi
case "${LC_ALL:-${LC_CTYPE:-${LANG:-}}}" in
  *[Uu][Tt][Ff]*) ui_yes="✓" ui_ellipsis="…" ui_frames=(⠋ ⠙ ⠹ ⠸ ⠼ ⠴ ⠦ ⠧ ⠇ ⠏) ;;
  *) ui_yes="ok" ui_ellipsis="..." ui_frames=("|" "/" "-" "\\") ;;
esac

# ui_say TEXT: a plain line.
ui_say() { printf '%s\n' "$*"; }

# ui_fact NAME TEXT: an aligned line of the opening table.
ui_fact() { printf '  %s%-7s%s %s\n' "$ui_dim" "$1" "$ui_reset" "$2"; }

# ui_die MESSAGE [REMEDY...]: the error on standard error, then exit 1.
ui_die() {
  printf '%serror:%s %s\n' "$ui_red" "$ui_reset" "$1" >&2
  shift
  local line
  for line in "$@"; do printf '  %s\n' "$line" >&2; done
  exit 1
}

# ui_duration SECONDS: "12 s", "8 min 40 s", "1 h 02 min".
ui_duration() {
  if (($1 < 60)); then printf '%d s' "$1"
  elif (($1 < 3600)); then printf '%d min %02d s' $(($1 / 60)) $(($1 % 60))
  else printf '%d h %02d min' $(($1 / 3600)) $(($1 % 3600 / 60)); fi
}

# ui_size MEGABYTES: "850 MB", "1.3 GB".
ui_size() { awk -v m="$1" 'BEGIN { if (m < 1000) printf "%d MB", m; else if (m < 10000) printf "%.1f GB", m / 1000; else printf "%d GB", m / 1000 }'; }

# ui_free_mb FOLDER: free megabytes where FOLDER is, or will be, made.
ui_free_mb() {
  local folder=$1
  while [ ! -d "$folder" ]; do folder=$(dirname "$folder"); done
  df -Pm "$folder" | awk 'NR == 2 { print $4 }'
}

# ui_tilde PATH: the home folder as ~.
ui_tilde() { case "$1" in "$HOME"/*) printf '~/%s' "${1#"$HOME"/}" ;; *) printf '%s' "$1" ;; esac; }

# ui_progress LOG: what a log's tail tells about progress: ninja's "57/214", train's "epoch 2/12  61 %  ...", or nothing.
ui_progress() {
  tail -c 4000 "$1" 2>/dev/null | sed -nE 's|^\[([0-9]+/[0-9]+)\].*|\1|p; s/^.*((epoch|eval) .*[0-9] %.*)$/\1/p' | tail -1 | cut -c1-100
}

ui_watch() {  # PARENT HEAD LOG START
  local parent=$1 head=$2 log=$3 start=$4 frame=0 said=0 now progress
  while kill -0 "$parent" 2>/dev/null; do
    now=$((SECONDS - start))
    progress=$(ui_progress "$log")
    if ui_is_tty; then
      printf '\r%s %s %s%s\e[K' "$head" "${ui_frames[frame++ % ${#ui_frames[@]}]}" "$(ui_duration $now)" "${progress:+  $progress}"
      sleep 0.2
    else
      if ((now - said >= 30)); then
        printf '%s %s %s%s\n' "$head" "$ui_ellipsis" "${progress:+$progress, }" "$(ui_duration $now)"
        said=$now
      fi
      sleep 1
    fi
  done
}

ui_stop_watch() {
  if [ -n "${ui_watcher:-}" ]; then
    kill "$ui_watcher" 2>/dev/null || true
    wait "$ui_watcher" 2>/dev/null || true
    ui_watcher=
    if ui_is_tty; then printf '\r\e[K'; fi
  fi
}

# Steps are counted over all scripts of one command: MPEFT_STEP of MPEFT_STEPS.
# ui_step_head NAME: "[2/4] LibTorch", and counts on.
ui_step_head() {
  export MPEFT_STEP=$((${MPEFT_STEP:-0} + 1)) MPEFT_STEPS=${MPEFT_STEPS:-1}
  ui_head="[$MPEFT_STEP/$MPEFT_STEPS] $1"
}

# ui_step_skip NAME WHY: a step that has nothing to do.
ui_step_skip() {
  ui_step_head "$1"
  ui_say "$ui_head: $2"
}

# ui_step NAME LOG COMMAND...: runs one step; returns the command's exit status.
ui_step() {
  ui_step_head "$1"
  shift
  ui_run "$@"
}

# ui_run LOG COMMAND...: runs a command under the line $ui_head.
ui_run() {
  local log=$1 status=0 start=$SECONDS progress
  shift
  mkdir -p "$(dirname "$log")"
  : > "$log"
  if ! ui_is_tty; then printf '%s %s\n' "$ui_head" "$ui_ellipsis"; fi
  ui_watch $$ "$ui_head" "$log" "$start" &
  ui_watcher=$!
  ("$@") >> "$log" 2>&1 < /dev/null || status=$?  # a subshell: this shell's traps keep their own output
  ui_stop_watch
  progress=$(ui_progress "$log")
  case $progress in *%*) progress= ;; esac  # of interest only while it moves
  if ((status == 0)); then
    printf '%s %s %s%s\n' "$ui_head" "$ui_ellipsis" "${progress:+$progress  }" "$(ui_duration $((SECONDS - start)))"
  else
    printf '%s %s %sfailed%s after %s\n' "$ui_head" "$ui_ellipsis" "$ui_red" "$ui_reset" "$(ui_duration $((SECONDS - start)))"
  fi
  return $status
}

# ui_explain LOG WHAT: ends after a failed installation, with the remedy that the log's words call for.
ui_explain() {
  local log=$1 what=$2
  if grep -qaiE 'no space left|disk quota|not have enough (free )?space' "$log"; then
    ui_die "$what: the disk is full." "free: $(ui_size "$(ui_free_mb "$mpeft_cache")") at $(ui_tilde "$mpeft_cache")." \
      "Free some space, or put the cache elsewhere with XDG_CACHE_HOME=FOLDER, and run this again."
  elif grep -qaiE 'could not resolve|name resolution|network is unreachable|max retries exceeded|failed to fetch|newconnectionerror|connection (refused|timed out|reset)|timed? ?out' "$log"; then
    ui_die "$what: the package server cannot be reached." \
      "Check the network (behind a proxy: http_proxy and https_proxy) and run this again; what is installed so far is kept." "log: $log"
  elif grep -qaE 'Could not get lock|is another process using it|Unable to acquire the dpkg' "$log"; then
    ui_die "$what: another package manager is at work." "Wait until it has finished and run this again."
  elif grep -qaE 'No matching distribution|Could not find a version' "$log"; then
    ui_die "$what: the package index has no fitting version for Python $("$mpeft_python" -c 'import platform; print(platform.python_version(), platform.machine())')." \
      "LibTorch's wheels need Python 3.10 to 3.14 on x86_64: name another interpreter with MPEFT_PYTHON=python3.12," \
      "or an existing LibTorch (2.6 or newer) with Torch_DIR=LIBTORCH/share/cmake/Torch." "log: $log"
  fi
  tail -n 20 "$log" >&2
  ui_die "$what failed (the end of its log is above)." "log: $log"
}
