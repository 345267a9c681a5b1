#!/usr/bin/env bash
# cmake/limit_spills.sh with a compiler that only pretends: what passes, what fails, what is left of the object.
set -euo pipefail
launcher=$(cd "$(dirname "$0")/../.." && pwd)/cmake/limit_spills.sh
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat > "$work/nvcc" <<'COMPILER'
#!/usr/bin/env bash
printf '%b' "$SAYS" >&2
touch "$OBJECT"
exit "${STATUS:-0}"
COMPILER
chmod +x "$work/nvcc"
export OBJECT=$work/kernel.o SAYS STATUS=0

report() {  # ARCH BYTES
  printf "ptxas info    : Compiling entry function '_Z6kernelv' for '%s'\nptxas info    : Function properties for _Z6kernelv\n" "$1"
  printf '    24 bytes stack frame, %d bytes spill stores, 4 bytes spill loads\nptxas info    : Used 255 registers\n' "$2"
}
fails=0
expect() {  # WHAT STATUS OBJECT-LEFT PATTERN [ARGUMENT...]: PATTERN is all that is said, "" nothing
  local what=$1 status=$2 left=$3 pattern=$4 got=0 has=yes
  shift 4
  "$launcher" 16 "$work/nvcc" "$@" -c kernel.cu -o "$OBJECT" 2> "$work/said" || got=$?
  [ -e "$OBJECT" ] || has=no
  if [ "$got" != "$status" ] || [ $has != "$left" ] || ! grep -qxE "$pattern" <(tr '\n' ' ' < "$work/said"; echo); then
    echo "FAIL $what: status $got, object left: $has, said: $(cat "$work/said")"
    fails=1
  fi
}
gencode=--generate-code=arch=compute_90,code=[sm_90]
SAYS="$(report sm_80 0)\n$(report sm_90 16)\n" expect "16 bytes are let pass, in silence" 0 yes "" $gencode
SAYS="kernel.cu(1): warning: odd\n$(report sm_90 8)\n" expect "warnings are passed on" 0 yes "kernel.cu.1.: warning: odd " $gencode
SAYS="$(report sm_80 0)\n$(report sm_120 20)\n" expect "20 bytes fail, on any architecture" 1 no "error: .*kernel.* spills 20 bytes on sm_120, more than 16 .*" $gencode
SAYS="$(report sm_80 20)\n$(report sm_120 0)\n" expect "the first kernel counts too" 1 no "error: .*kernel.* spills 20 bytes on sm_80, more than 16 .*" $gencode
SAYS="$(report sm_90a 0)\nptxas info    : (C7508) Potential Performance Loss: 'setmaxnreg' ignored to maintain correctness\n" expect "registers that are not moved fail" 1 no "error: .*setmaxnreg. ignored .*" $gencode
SAYS="" expect "a compiler that says nothing fails" 1 no "error: ptxas reported on 0 of 0 functions.*" $gencode
SAYS="" expect "PTX alone has no spills" 0 yes "" --generate-code=arch=compute_120,code=[compute_120]
SAYS="error: broken\n" STATUS=3 expect "the compiler's own failure stays" 3 yes "error: broken " $gencode
[ $fails = 0 ] && echo "limit_spills: as it should"
exit $fails
