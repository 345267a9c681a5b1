#!/usr/bin/env bash
# From nothing to a fine-tuned model: sets up, builds, trains a tiny Mamba on the sample data, adapts it with LoRA to
# another kind of record, and shows what came out. A second run does only what is missing.
#
#   scripts/quickstart.sh        MPEFT_CUDA=ON|OFF|AUTO as scripts/setup.sh
set -euo pipefail
mpeft_root=$(cd "$(dirname "$0")/.." && pwd)
case ${1:-} in -h | --help) sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
. "$mpeft_root/scripts/lib/ui.sh"
. "$mpeft_root/scripts/lib/build.sh"
export MPEFT_STEP=0 MPEFT_STEPS=4
ui_say "${ui_bold}mamba-peft quickstart${ui_reset}"
. "$mpeft_root/scripts/setup.sh"
interruptible
build_step release
cd "$mpeft_root"
# As run_all: where cores are few, OpenMP's threads wait asleep sooner (src/app/README.md).
if [ "$(nproc)" -le 4 ] && [ -z "${OMP_WAIT_POLICY:-}" ]; then export GOMP_SPINCOUNT=${GOMP_SPINCOUNT:-1000}; fi
ui_step_head train
ui_say "$ui_head"

# train_run NAME: one configuration. `train` skips a finished run and goes on with an interrupted one by itself.
train_run() {
  local name=$1 status=0 folder=weights/quickstart/$1 log=build/log/quickstart-$1.log
  ui_head="      $name"
  # A terminal's line is short and counts seconds; the whole screen of `train` is in the log.
  ui_run "$log" build/release/bin/train --cfg "cfg/quickstart/$name.yaml" || status=$?
  if ((status == 130)); then exit 130; fi
  if ((status != 0)); then
    tail -n 20 "$log" >&2
    ui_die "training $name ended with exit code $status (see above)." "log: $log" "again: build/release/bin/train --cfg cfg/quickstart/$name.yaml --overwrite"
  fi
  python3 scripts/quickstart_summary.py --run "$folder" "$log"
}
train_run base
train_run lora
python3 scripts/quickstart_summary.py weights/quickstart
