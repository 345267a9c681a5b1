#!/usr/bin/env bash
# Packs what a GPU machine needs that has only Python's torch: executables, operator library, tests, configurations and
# the Debian libraries they load. Nothing of LibTorch, NVIDIA or the C and C++ runtime: those are the machine's own.
#
#   scripts/gpu_bundle.sh [--no-build] [FOLDER]      FOLDER: build/gpu-bundle
#   there:  FOLDER/run.sh train --cfg ...   FOLDER/run.sh tests [GTEST-FILTER]   FOLDER/run.sh mpeft bench scan
#           FOLDER/run.sh python3 FOLDER/tree/tests/bench/compare_ops.py         (tree: scripts, cfg and data, as here)
set -euo pipefail
mpeft_root=$(cd "$(dirname "$0")/.." && pwd)
case ${1:-} in -h | --help) sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
if [ "${1:-}" = --no-build ]; then shift; else "$mpeft_root/scripts/build.sh" cuda; fi
cd "$mpeft_root"
build=build/cuda
bundle=${1:-build/gpu-bundle}
limit_mb=96  # 64 today: far more would be a library of the machine's own, packed by mistake
[ -d $build/bin ] || { echo "$build/bin: not built. scripts/build.sh cuda builds it." >&2; exit 1; }

rm -rf "$bundle"
mkdir -p "$bundle"/{bin,tests,bench,lib,tree/tests/parity,tree/data,tree/scripts}
for file in $build/bin/*; do
  [ -f "$file" ] && [ -x "$file" ] || continue
  case ${file##*/} in
    train | run_all | mpeft) to=bin ;;
    bench_*) to=bench ;;
    *) to=tests ;;
  esac
  strip -o "$bundle/$to/${file##*/}" "$file"
done
strip -o "$bundle/lib/libmpeft_ops.so" $build/lib/libmpeft_ops.so

# The libraries that ours load, and those that these load; LibTorch's own are not followed.
machine='^(ld-linux.*|linux-vdso.*|libc|libm|libdl|librt|libpthread|libresolv|libutil|libstdc\+\+|libgcc_s|libgomp.*|libc10.*|libtorch.*|libcuda|libcudart|libcu.*|libnv.*|libnccl|libmpeft_ops)\.so'
declare -A path=() seen=()
queue=()
for file in "$bundle"/{bin,tests,bench}/* $build/lib/libmpeft_ops.so; do
  [ -f "$file" ] || continue
  queue+=("$file")
  original=$file
  while read -r name _ where _; do case $where in /*) path[$name]=$where ;; esac; done < <(ldd "$original")
done
while [ ${#queue[@]} -gt 0 ]; do
  file=${queue[0]}
  queue=("${queue[@]:1}")
  while read -r name; do
    if [ -n "${seen[$name]:-}" ] || [[ $name =~ $machine ]]; then continue; fi
    seen[$name]=1
    [ -n "${path[$name]:-}" ] || { echo "$file needs $name, which ldd does not find here." >&2; exit 1; }
    strip -o "$bundle/lib/$name" "$(realpath "${path[$name]}")"
    queue+=("${path[$name]}")
  done < <(objdump -p "$file" | awk '$1 == "NEEDED" { print $2 }')
done

# What tests and configurations read and the Python programs that need a GPU, laid out as in the source tree.
cp -r cfg README.md "$bundle/tree/"
cp -r tests/golden tests/bench "$bundle/tree/tests/"
cp tests/parity/{python_ops,parity_tools}.py "$bundle/tree/tests/parity/"
cp -r scripts/{python,compare,compare_methods.py} "$bundle/tree/scripts/"
mkdir -p "$bundle/tree/src/peft"
cp src/peft/methods.def "$bundle/tree/src/peft/"  # which methods there are: compare_methods.py says what it leaves out
cp -r data/sample "$bundle/tree/data/"
find "$bundle/tree" -name __pycache__ -prune -exec rm -r {} +
mkdir -p "$bundle/tree/$build/tests"
cp -r "$build/tests/fake_nvml" "$bundle/tree/$build/tests/"
printf '%s\n' "$mpeft_root" > "$bundle/source_dir"
sed -n 's/^LibTorch_ROOT:[^=]*=//p' $build/CMakeCache.txt | xargs -I{} sed -n "s/^__version__ = '\(.*\)'/\1/p" {}/version.py > "$bundle/torch_version"

cat > "$bundle/run.sh" <<'RUN'
#!/usr/bin/env bash
# Runs a program of this bundle with the LibTorch of this machine's python3 (or of MPEFT_LIBTORCH=.../site-packages/torch).
#
#   run.sh PROGRAM ARGUMENT...     train, run_all, mpeft, a file of tests/ or bench/, or any other command
#   run.sh tests [GTEST-FILTER]    all tests; ends with "N passed, N failed"
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
[ $# -gt 0 ] || { sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit 2; }
torch=${MPEFT_LIBTORCH:-$(python3 -c 'import importlib.util as u; s = u.find_spec("torch"); print(s.submodule_search_locations[0] if s else "")')}
[ -e "$torch/lib/libtorch_cuda.so" ] || { echo "run.sh: python3 here has no torch with CUDA; name one with MPEFT_LIBTORCH=.../site-packages/torch" >&2; exit 1; }
built=$(cat "$here/torch_version")
found=$(sed -n "s/^__version__ = '\(.*\)'/\1/p" "$torch/version.py")
if [ "${built%%+*}" != "${found%%+*}" ]; then echo "run.sh: built with LibTorch $built, this is $found: it may not load" >&2; fi
libraries=$here/lib:$torch/lib
for folder in "$(dirname "$torch")"/nvidia/*/lib; do [ ! -d "$folder" ] || libraries+=:$folder; done
export LD_LIBRARY_PATH=$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export PATH=$here/bin:$here/tests:$here/bench:$PATH
export MPEFT_OPS_LIBRARY=$here/lib/libmpeft_ops.so

# Tests know the source tree and the programs by the paths that they had where they were built.
ln -sfn ../../../bin "$here/tree/build/cuda/bin"
source_dir=$(cat "$here/source_dir")
if [ ! -e "$source_dir" ]; then
  mkdir -p "$(dirname "$source_dir")" 2>/dev/null && ln -s "$here/tree" "$source_dir" 2>/dev/null ||
    echo "run.sh: cannot make $source_dir; tests that read files will fail" >&2
fi

if [ "$1" != tests ]; then exec "$@"; fi
passed=0 failed=()
for test in "$here"/tests/*; do
  echo "== ${test##*/}"
  if "$test" --gtest_brief=1 ${2:+--gtest_filter="$2"}; then passed=$((passed + 1)); else failed+=("${test##*/}"); fi
done
[ ${#failed[@]} -eq 0 ] || printf 'failed: %s\n' "${failed[@]}"
echo "$passed passed, ${#failed[@]} failed"
[ ${#failed[@]} -eq 0 ]
RUN
chmod +x "$bundle/run.sh"

size=$(du -sm "$bundle" | cut -f1)
echo "bundle: $bundle, $size MiB, $(find "$bundle/tests" -type f | wc -l) test programs, libraries: $(cd "$bundle/lib" && echo *)"
if [ "$size" -ge $limit_mb ]; then
  echo "larger than $limit_mb MiB:" >&2
  find "$bundle" -type f -size +1M -exec du -m {} + | sort -rn | head >&2
  exit 1
fi
