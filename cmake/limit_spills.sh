#!/usr/bin/env bash
# Compiler launcher for CUDA files: runs the compiler, whose options make ptxas report on every kernel (-Xptxas=-v), keeps
# that report to itself, and fails when a kernel spills more than BYTES of registers on any of the architectures:
# recurrences live in registers, and a compiler that runs out of them costs more than it says. A compiler cache behind it
# repeats the report with the object, so that what comes from the cache is checked too.
# Usage: limit_spills.sh BYTES COMPILER [ARGUMENT...]
set -uo pipefail
limit=$1
shift
said=$(mktemp) || exit 1
trap 'rm -f "$said"' EXIT

"$@" 2> "$said"
status=$?
grep -vE '^ptxas info +:|^ +[0-9]+ bytes stack frame, ' "$said" >&2
[ $status -eq 0 ] || exit $status

object='' real=false last=''
for argument in "$@"; do
  case $last in -o) object=$argument ;; esac
  case $argument in *sm_* | *native*) real=true ;; esac  # of PTX alone ptxas says nothing
  last=$argument
done
awk -v limit="$limit" -v real=$real '
  /Compiling entry function/ { split($0, quoted, "\x27"); kernel = quoted[2]; arch = quoted[4] }
  /Function properties for / { kernel = $NF; expected++ }
  / bytes spill stores, / {
    reported++
    for (i = 1; i < NF; i++) if ($(i + 1) == "bytes" && $(i + 2) == "spill" && $(i + 3) ~ /^stores/) spilled = $i
    if (spilled + 0 > limit) { bad++; printf "error: %s spills %d bytes on %s, more than %d\n", kernel, spilled, arch, limit }
  }
  /setmaxnreg.*ignored/ { ignored++; print "error: " $0 }
  END {
    if (ignored) print "A kernel that moves registers names its blocks a multiprocessor in __launch_bounds__."
    if (bad) print "Fewer registers a thread or a looser __launch_bounds__ help; -DMPEFT_SPILL_LIMIT=BYTES (or nothing) allows more."
    if (real == "true" && (reported == 0 || reported != expected)) {
      bad++
      printf "error: ptxas reported on %d of %d functions: spills cannot be judged\n", reported, expected
    }
    exit bad + ignored > 0
  }' "$said" > "$said.errors"
status=$?
(c++filt < "$said.errors" 2> /dev/null || cat "$said.errors") >&2
rm -f "$said.errors"
# Without the object a build that goes on later compiles again, instead of taking a file that is newer than its source.
[ $status -eq 0 ] || { [ -z "$object" ] || rm -f "$object"; exit 1; }
