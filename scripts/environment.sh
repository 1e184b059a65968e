# Sourced by the other scripts, at the project's root: makes .venv (and, with NEED_TOOLS=1, .venv/tools) hold exactly
# what scripts/locks say, by their hashes and built by nobody here; with EDGE_ONLY=1 only what an edge needs. Does nothing
# when they do already.

fail() { echo "$(basename "$0"): $*" >&2; exit 1; }

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; elif command -v sudo >/dev/null; then sudo "$@"; else return 1; fi; }

missing_programs() { # missing_programs PROGRAM PACKAGE ...: the Debian packages of those that aren't there
  while [ $# -gt 0 ]; do
    PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null || echo "$2"
    shift 2
  done
}

missing_modules() { # missing_modules MODULE ...: the same for modules of Kamailio
  local module
  for module; do
    compgen -G "/usr/lib/*/kamailio/modules/$module.so" >/dev/null || echo "kamailio-${module#db_}-modules"
  done
}

install_packages() { # install_packages PACKAGE ...: Debian's; nothing happens if there are none
  [ $# -gt 0 ] || return 0
  echo "Installing $* ..." >&2
  (as_root apt-get update -q && as_root apt-get install -y -q --no-install-recommends "$@") >.local/apt.log 2>&1 ||
    fail "couldn't install $*; see .local/apt.log"
  if [[ " $* " == *" rtpengine-daemon "* ]] && [ -d /run/systemd/system ]; then
    as_root systemctl disable --quiet --now rtpengine-daemon # which the package starts; edges start their own
  fi
}

find_python() {
  local candidate
  for candidate in python3.13 python3.12 python3.11 python3 python3.14; do
    if command -v "$candidate" >/dev/null &&
      "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  fail "Python 3.11 or newer is needed and wasn't found; on Debian 12: apt-get install python3 python3-venv"
}

make_environment() { # make_environment DIRECTORY LOCK
  local directory=$1 lock=scripts/locks/$2.txt stamp=$1/.sipwizard-stamp wanted compile=--no-compile
  [ "$2" = edge ] && compile=--compile # its service can't do it later: it may not write there
  wanted="$2 $(sha256sum <"$lock" | cut -d' ' -f1)"
  [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && return
  local python
  python=$(find_python) || exit 1
  echo "Installing into $directory (once) ..."
  if ! "$python" -m venv "$directory" >/dev/null 2>&1; then
    rm -rf "$directory"
    as_root apt-get install -y -q python3-venv >/dev/null 2>&1 || true
    "$python" -m venv "$directory" >/dev/null 2>&1 ||
      fail "$python can't make a virtual environment; on Debian: apt-get install python3-venv"
  fi
  "$directory/bin/python" -m pip install --quiet --retries 2 --disable-pip-version-check \
    --require-hashes --only-binary :all: --no-deps $compile --requirement "$lock" >"$directory/pip.log" 2>&1 ||
    fail "pip couldn't install what is needed; is there a network? $directory/pip.log says: $(grep -m 1 ERROR "$directory/pip.log" || tail -n 1 "$directory/pip.log")"
  echo "$wanted" >"$stamp"
}

# The core compiled, if wheels/ has one for these sources, this Python, processor and C library (scripts/wheels).
install_core() {
  local version
  version=$(.venv/bin/python -c 'from edge.compiled_core import version; print(version())')
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-index --no-deps --find-links wheels \
    "sipwizard-core==$version" 2>.venv/core.log ||
    echo "$(basename "$0"): no wheel in wheels/ fits: the core will run uncompiled, for more CPU; see docs/deploy.md" >&2
}

mkdir -p .local
# What is imported is compiled once, whatever the machine's habit: a fleet is five interpreters with much to import.
unset PYTHONDONTWRITEBYTECODE PYTHONPYCACHEPREFIX
[ "${EDGE_ONLY:-}" = 1 ] || export PYTHONPYCACHEPREFIX=$PWD/.local/bytecode
exec 9>.local/environment.lock
flock 9
tools=
if [ "${NEED_TOOLS:-}" = 1 ]; then
  make_environment .venv/tools tools &
  tools=$!
fi
if [ "${EDGE_ONLY:-}" = 1 ]; then
  make_environment .venv edge
  install_core
else
  make_environment .venv development
fi
[ -z "$tools" ] || wait "$tools" || exit 1
exec 9>&-
