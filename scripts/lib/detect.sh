# shellcheck shell=bash disable=SC2034,SC2154  # variables are shared with the other parts
# What this machine has: compiler, Python, GPU, LibTorch, CUDA, CMake. Sourced by setup.sh.

have() { command -v "$1" >/dev/null 2>&1; }

# version_at_least HAVE WANT: compares dotted versions.
version_at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -1)" = "$2" ]; }

have_compiler() {
  local cxx=${CXX:-}
  if [ -n "$cxx" ]; then have "${cxx%% *}"; return; fi
  have g++ && version_at_least "$(g++ -dumpfullversion)" 11
}

have_gpu() {
  [ -e /proc/driver/nvidia/version ] || { have nvidia-smi && nvidia-smi -L >/dev/null 2>&1; }
}

# detect_python: fills mpeft_python with an interpreter that LibTorch's wheels fit.
detect_python() {
  local name
  for name in ${MPEFT_PYTHON:-python3 python3.14 python3.13 python3.12 python3.11 python3.10}; do
    if have "$name" && "$name" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null; then
      mpeft_python=$(command -v "$name")
      return
    fi
  done
  ui_die "no Python 3.10 to 3.14 found (${MPEFT_PYTHON:-python3})." "Install one (Debian, Ubuntu: apt-get install python3) or name one with MPEFT_PYTHON=PATH."
}

# torch_version ROOT: version of the LibTorch in ROOT from its headers; empty when there is none.
torch_version() {
  local header
  for header in "$1/include/torch/headeronly/version.h" "$1/include/torch/csrc/api/include/torch/version.h"; do
    if [ -e "$header" ] && [ -e "$1/lib/libtorch_cpu.so" ]; then
      local version
      version=$(awk '$2 ~ /^TORCH_VERSION_(MAJOR|MINOR|PATCH)$/ { v = v sep $3; sep = "." } END { print v }' "$header")
      if [ -n "$version" ]; then printf '%s' "$version"; return; fi
    fi
  done
}

# torch_usable ROOT: new enough, and built with the C++11 string ABI that Debian's libraries have.
torch_usable() {
  local version
  version=$(torch_version "$1")
  [ -n "$version" ] && version_at_least "$version" 2.6 && grep -qa '_ZN3c105Error.*__cxx11' "$1/lib/libc10.so"
}

# torch_cuda_major ROOT: the CUDA major version of a LibTorch whose CUDA libraries are complete; empty otherwise.
torch_cuda_major() {
  local site cudnn cudart
  site=$(dirname "$1")
  [ -e "$1/lib/libtorch_cuda.so" ] || return 0
  for cudnn in "$site"/nvidia/*/lib/libcudnn.so* "$1"/lib/libcudnn*.so*; do
    [ -e "$cudnn" ] || continue
    for cudart in "$site"/nvidia/*/lib/libcudart.so.* "$1"/lib/libcudart*.so.*; do
      [ -e "$cudart" ] || continue
      cudart=${cudart##*.so.}
      printf '%s' "${cudart%%.*}"
      return
    done
  done
}

# nvcc_version NVCC: "13.0"; empty when it does not run.
nvcc_version() { "$1" --version 2>/dev/null | sed -n 's/.*release \([0-9.]*\),.*/\1/p'; }

# nvcc_usable NVCC MAJOR: 12.4 or newer, of the major version that LibTorch was built with (one CUDA runtime a process).
nvcc_usable() {
  local version
  version=$(nvcc_version "$1")
  [ -n "$version" ] && version_at_least "$version" 12.4 && [ "${version%%.*}" = "$2" ]
}

# detect_torch: fills torch_root and torch_from with an existing LibTorch that serves, else leaves them empty.
# Order: Torch_DIR, CMAKE_PREFIX_PATH, the torch of the active python3. A CUDA build takes only a complete CUDA one.
detect_torch() {
  torch_root='' torch_from=''
  local candidates=() from=() prefix site i
  if [ -n "${Torch_DIR:-}" ]; then candidates+=("$Torch_DIR/../../.."); from+=(Torch_DIR); fi
  local IFS=';:'
  for prefix in ${CMAKE_PREFIX_PATH:-}; do candidates+=("$prefix" "$prefix/../.."); from+=(CMAKE_PREFIX_PATH CMAKE_PREFIX_PATH); done
  unset IFS
  if have python3; then
    site=$(python3 -c 'import importlib.util as u; s = u.find_spec("torch"); print(s.submodule_search_locations[0] if s else "")' 2>/dev/null) || site=
    case $site in '' | "$mpeft_toolchain"/*) ;; *) candidates+=("$site"); from+=("python3") ;; esac
  fi
  for i in "${!candidates[@]}"; do
    if torch_usable "${candidates[i]}" && { ! $want_cuda || [ -n "$(torch_cuda_major "${candidates[i]}")" ]; }; then
      torch_root=$(realpath "${candidates[i]}")
      torch_from=${from[i]}
      return
    elif [ "${from[i]}" = Torch_DIR ]; then
      ui_die "Torch_DIR=$Torch_DIR is no LibTorch that serves here." \
        "Wanted: version 2.6 or newer with the C++11 ABI$($want_cuda && echo ', built with CUDA and its libraries beside it') (found: $(torch_version "${candidates[i]}"))."
    fi
  done
}

# detect_nvcc MAJOR: fills nvcc with a toolkit's compiler that serves, else leaves it empty.
detect_nvcc() {
  local candidate
  nvcc=''
  for candidate in "${CUDACXX:-}" "$(command -v nvcc || true)" "${CUDA_HOME:-/usr/local/cuda}/bin/nvcc"; do
    if [ -n "$candidate" ] && [ -x "$candidate" ] && nvcc_usable "$candidate" "$1"; then
      nvcc=$candidate
      return
    fi
  done
}

# have_build_tools: CMake 3.25 or newer and Ninja on the PATH.
have_build_tools() {
  have cmake && have ctest && have ninja && version_at_least "$(cmake --version | sed -n '1s/.* //p')" 3.25
}
