# shellcheck shell=bash disable=SC2034,SC2154  # variables are shared with the other parts
# The per-user cache folder: LibTorch, the CUDA compiler, CMake and Ninja in one virtual environment, the packages that
# the Python checks compare with in another. Sourced by setup.sh.
#
# An environment is made under another name, gets its stamp, and is renamed: it is there whole or not at all. The stamp
# lists what it holds, a component a line.

declare -A component_pip=(
  [tools]='cmake==4.4.5 ninja==1.13.2'
  [torch-cpu]='torch==2.11.0 nvidia-cuda-runtime==13.0.96 nvidia-cuda-cupti==13.0.85'
  [torch-cuda]='torch==2.11.0'
  # crt and nvvm are named because nvcc's own requirement on them has no version: a newer nvvm writes PTX that this ptxas refuses.
  [nvcc]='cuda-toolkit[nvcc,nvvm,crt,cudart,cccl]==13.0.2'
)
declare -A component_mb=([tools]=130 [torch-cpu]=1300 [torch-cuda]=4700 [nvcc]=300)   # on disk
declare -A component_fetch_mb=([tools]=40 [torch-cpu]=560 [torch-cuda]=2600 [nvcc]=100)  # wheels, gone afterwards

component_line() { printf '%s %s' "$1" "${component_pip[$1]}"; }

# toolchain_holds COMPONENT: the full LibTorch serves where the slim one would.
toolchain_holds() {
  local stamp=$mpeft_toolchain/stamp
  [ -e "$stamp" ] || return 1
  grep -qxF "$(component_line "$1")" "$stamp" && return
  [ "$1" = torch-cpu ] && grep -qxF "$(component_line torch-cuda)" "$stamp"
}

# toolchain_plan COMPONENT...: fills plan with what must be installed: nothing, or all that is wanted and all that is there.
toolchain_plan() {
  plan=()
  local component complete=true
  for component in "$@"; do toolchain_holds "$component" || complete=false; done
  $complete && return
  local all=" $* "
  for component in "${!component_pip[@]}"; do
    if [ -e "$mpeft_toolchain/stamp" ] && grep -q "^$component " "$mpeft_toolchain/stamp"; then all+="$component "; fi
  done
  case $all in *' torch-cuda '*) all=${all// torch-cpu / } ;; esac
  for component in torch-cpu torch-cuda nvcc tools; do case $all in *" $component "*) plan+=("$component") ;; esac; done
}

plan_mb() {  # component_mb|component_fetch_mb
  local -n table=$1
  local component sum=0
  for component in "${plan[@]}"; do sum=$((sum + table[$component])); done
  printf '%d' $sum
}

# remove_leftovers: environments whose making was killed (a power cut; an interrupt removes its own).
remove_leftovers() {
  local folder
  for folder in "$mpeft_cache"/*.partial.* "$mpeft_cache"/*.old.*; do
    if [ -d "$folder" ] && ! kill -0 "${folder##*.}" 2>/dev/null; then rm -rf "$folder"; fi
  done
}

# publish_environment PARTIAL FINAL: scripts carry the interpreter's path; then one rename.
publish_environment() {
  local partial=$1 final=$2
  grep -rlIF --include='*' "$partial" "$partial/bin" "$partial/pyvenv.cfg" 2>/dev/null | while IFS= read -r file; do
    [ -L "$file" ] || sed -i "s|$partial|$final|g" "$file"
  done
  if [ -e "$final" ]; then mv "$final" "$final.old.$$"; fi
  mv "$partial" "$final"
  rm -rf "$final.old.$$"
}

# pip_into ENVIRONMENT ARGUMENT...: wheels only, so nothing is compiled; no cache, so nothing stays elsewhere.
pip_into() {
  local environment=$1
  shift
  mkdir -p "$environment/tmp"
  TMPDIR=$environment/tmp "$environment/bin/python" -m pip --disable-pip-version-check --no-input install --no-cache-dir \
    --progress-bar off --no-compile --only-binary :all: "$@"
}

make_toolchain() {
  local partial=$1 component site cuda
  "$mpeft_python" -m venv "$partial" || return
  for component in "${plan[@]}"; do
    # shellcheck disable=SC2086  # a list of requirements
    case $component in
      torch-cpu) pip_into "$partial" --no-deps ${component_pip[$component]} || return ;;
      *) pip_into "$partial" ${component_pip[$component]} || return ;;
    esac
  done
  site=$("$partial/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  # nvcc links with -L lib64 and -lcudart; the wheels have lib and libcudart.so.N.
  for cuda in "$site"/nvidia/cu*; do
    if [ -x "$cuda/bin/nvcc" ]; then
      [ -e "$cuda/lib64" ] || ln -s lib "$cuda/lib64"
      [ -e "$cuda/lib/libcudart.so" ] || ln -s "$(basename "$cuda"/lib/libcudart.so.*)" "$cuda/lib/libcudart.so"
    fi
  done
  # Only the build tools go onto the PATH: the environment's python must not shadow the user's.
  mkdir -p "$partial/tools"
  for component in cmake ctest cpack ninja; do
    [ ! -e "$partial/bin/$component" ] || ln -sf "../bin/$component" "$partial/tools/$component"
  done
  rm -rf "$partial/tmp"
  for component in "${plan[@]}"; do component_line "$component"; echo; done > "$partial/stamp"
  publish_environment "$partial" "$mpeft_toolchain"
}

# toolchain_torch_root: the LibTorch of the cache folder; empty when there is none.
toolchain_torch_root() {
  local root
  for root in "$mpeft_toolchain"/lib/python3*/site-packages/torch; do [ -d "$root" ] && printf '%s' "$root" && return; done
  return 0
}

# toolchain_nvcc: its CUDA compiler.
toolchain_nvcc() {
  local file
  for file in "$mpeft_toolchain"/lib/python3*/site-packages/nvidia/cu*/bin/nvcc; do [ -x "$file" ] && printf '%s' "$file" && return; done
  return 0
}

toolchain_step() {
  if ((${#plan[@]} == 0)); then
    ui_step_skip LibTorch "$torch_label"
    return
  fi
  local partial=$mpeft_toolchain.partial.$$ log=$mpeft_cache/log/toolchain.log
  mpeft_unfinished=$partial
  ui_step "$plan_label" "$log" make_toolchain "$partial" || { rm -rf "$partial"; ui_explain "$log" "installing $plan_label"; }
  mpeft_unfinished=
}

# The Python packages that tests compare with; they see LibTorch's own torch, so it is not installed twice.
checks_stamp() { { cat "$mpeft_root/scripts/requirements-checks.txt"; echo "$torch_root"; } | sha256sum | cut -d' ' -f1; }

make_checks() {
  local partial=$1 python=$2 site
  "$python" -m venv "$partial" || return
  site=$("$partial/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  dirname "$torch_root" > "$site/libtorch.pth"
  pip_into "$partial" -r "$mpeft_root/scripts/requirements-checks.txt" || return
  rm -rf "$partial/tmp"
  checks_stamp > "$partial/stamp"
  publish_environment "$partial" "$mpeft_cache/checks"
}

checks_step() {
  if [ "$(cat "$mpeft_cache/checks/stamp" 2>/dev/null)" = "$(checks_stamp)" ]; then
    ui_step_skip "Python checks" "all there"
    return
  fi
  # torch is compiled for one version of Python: take that of the environment it lies in.
  local python=$mpeft_python partial=$mpeft_cache/checks.partial.$$ log=$mpeft_cache/log/checks.log
  case $torch_root in "$mpeft_toolchain"/*) python=$mpeft_toolchain/bin/python ;; *) if [ "$torch_from" = python3 ]; then python=python3; fi ;; esac
  mpeft_unfinished=$partial
  ui_step "Python checks" "$log" make_checks "$partial" "$python" || { rm -rf "$partial"; ui_explain "$log" "installing the Python checks"; }
  mpeft_unfinished=
}
