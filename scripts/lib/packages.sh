# shellcheck shell=bash disable=SC2034,SC2154  # variables are shared with the other parts
# Debian and Ubuntu packages: what is missing, what it weighs, and its installation. Sourced by setup.sh.

# pkg_wanted: names of the packages that the build, the tests and METEOR need, one a line.
pkg_wanted() {
  printf '%s\n' libyaml-cpp-dev libcli11-dev libspdlog-dev libsentencepiece-dev nlohmann-json3-dev libpcre2-dev \
    libutf8proc-dev libssl-dev libsqlite3-dev libgtest-dev libgmock-dev wordnet-base
  have_compiler || echo g++
  have git || echo git
  if $need_venv && ! "$mpeft_python" -c 'import venv, ensurepip' 2>/dev/null; then echo python3-venv; fi
  if $want_lint; then printf '%s\n' clang-format-14 clang-tidy-14; fi
  if $want_bench; then echo libbenchmark-dev; fi
}

# pkg_optional: packages that only save time; skipped where the distribution does not have them.
pkg_optional() { printf '%s\n' ccache mold; }

pkg_installed() { [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

# pkg_find_missing: fills pkg_missing.
pkg_find_missing() {
  pkg_missing=()
  have dpkg-query || return 0
  local name
  for name in $(pkg_wanted); do pkg_installed "$name" || pkg_missing+=("$name"); done
  for name in $(pkg_optional); do
    if ! pkg_installed "$name" && ! have "$name" && pkg_known "$name"; then pkg_missing+=("$name"); fi
  done
}

# With no package lists at all (a new container) nothing is known yet: assume that it will be after apt-get update.
pkg_known() { apt-cache show "$1" >/dev/null 2>&1 || ! pkg_have_lists; }
pkg_have_lists() { apt-cache show libssl-dev >/dev/null 2>&1; }

# pkg_weight: what apt says the missing packages add, e.g. "96.4 MB"; empty when it cannot tell yet.
pkg_weight() {
  LC_ALL=C apt-get install --assume-no --no-install-recommends -o Debug::NoLocking=1 "${pkg_missing[@]}" 2>/dev/null |
    sed -n 's/^After this operation, \(.*\) of additional disk space.*/\1/p'
}

# pkg_notes WEIGHT: " (sudo; 90.7 MB)".
pkg_notes() {
  local notes=''
  [ "$(id -u)" = 0 ] || notes="; sudo"
  notes+=${1:+"; $1"}
  printf '%s' "${notes:+ (${notes#; })}"
}

# pkg_sudo: fills sudo with the words that make a command run as root, or ends with what to do.
pkg_sudo() {
  sudo=()
  [ "$(id -u)" = 0 ] && return
  local order="apt-get install --no-install-recommends ${pkg_missing[*]}"
  have sudo || ui_die "packages are missing and there is no sudo here." "Ask whoever administers this machine to run:" "  $order"
  if ! sudo -n true 2>/dev/null; then
    [ -t 0 ] || ui_die "packages are missing and sudo asks for a password, which needs a terminal." "Run this first:" "  sudo $order"
    sudo -v || ui_die "packages are missing and sudo refused." "Ask whoever administers this machine to run:" "  $order"
  fi
  sudo=(sudo)
}

pkg_apt() { "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive LC_ALL=C apt-get -q -o DPkg::Lock::Timeout=300 "$@"; }

# Fetching can be interrupted; unpacking cannot: dpkg would leave half-configured packages behind.
pkg_install() {
  if ! pkg_have_lists || ! pkg_apt -s install --no-install-recommends "${pkg_missing[@]}" >/dev/null; then pkg_apt update || return; fi
  if [ -n "$(dpkg --audit 2>/dev/null)" ]; then "${sudo[@]}" dpkg --configure -a || return; fi
  local fetch=(install -y --no-install-recommends --download-only "${pkg_missing[@]}")
  if ! pkg_apt "${fetch[@]}"; then
    pkg_apt update || return  # lists older than the mirror: 404
    pkg_apt "${fetch[@]}" || return
  fi
  (trap '' INT; pkg_apt install -y --no-install-recommends "${pkg_missing[@]}")
}

# pkg_step: installs what is missing, as one step.
pkg_step() {
  if ((${#pkg_missing[@]} == 0)); then
    ui_step_skip packages "all there"
    return
  fi
  local log=$mpeft_cache/log/packages.log
  ui_step packages "$log" pkg_install || ui_explain "$log" "installing packages"
}

# pkg_no_apt: on other distributions the libraries must be there already; CMake names one that is not.
pkg_no_apt() {
  ui_say "note: no apt here (Debian and Ubuntu have it). These must be installed already, with headers:"
  ui_say "  yaml-cpp CLI11 spdlog sentencepiece nlohmann-json PCRE2 utf8proc OpenSSL SQLite GoogleTest, WordNet 3.0 for METEOR"
}
