# The environment of the recipe, to be sourced from anywhere: . ./path.sh
#
# Puts the checkout on PYTHONPATH and a Python with the packages of requirements.txt first on PATH. The packages
# live in .venv beside this file, or in the folder that HAM_VENV names (several checkouts can share it); what is
# missing there is installed. A further file of requirements may be named: ham_requirements=requirements-dev.txt
# shellcheck shell=bash

ham_top=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd) || return 1

ham_environment() {
  local lock status=0
  lock=${HAM_VENV:-$ham_top/.venv}.lock
  # Two commands that meet a missing environment must not both make it.
  if command -v flock >/dev/null && mkdir -p "$(dirname "$lock")" && { exec {ham_lock}>"$lock"; } 2>/dev/null; then
    flock "$ham_lock"
    ham_prepare {ham_lock}>&- || status=$?
    exec {ham_lock}>&-
    return "$status"
  fi
  ham_prepare
}

ham_prepare() {
  local venv=${HAM_VENV:-$ham_top/.venv} python=${HAM_PYTHON:-python3} files=("$ham_top/requirements.txt") file
  for file in ${ham_requirements:-}; do files+=("$ham_top/$file"); done
  if ! "$venv/bin/python" -c 'import pip' 2>/dev/null; then # missing, or left half made
    if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
      echo "error: path.sh: expected Python 3.10 or newer as '$python', found $("$python" --version 2>&1 | head -n 1);" \
        "install one, or name it: HAM_PYTHON=/path/to/python3.11" >&2
      return 1
    fi
    echo "path.sh: making a virtual environment in $venv" >&2
    if ! "$python" -m venv "$venv" >&2; then
      echo "error: path.sh: '$python -m venv $venv' failed; $(ham_venv_cure "$python")" >&2
      return 1
    fi
  fi
  ham_install "$venv/bin/python" "${files[@]}" || return 1
  PATH=$venv/bin:$PATH
  PYTHONPATH=$ham_top${PYTHONPATH:+:$PYTHONPATH}
  export PATH PYTHONPATH PYTHONUTF8=1
}

# ham_venv_cure PYTHON: what helps where no environment can be made; Debian has a part of Python in a package of its own.
ham_venv_cure() {
  if "$1" -c 'import ensurepip' 2>/dev/null; then
    echo "the lines above say why; HAM_VENV=/another/folder makes it elsewhere"
  elif [ -e /etc/debian_version ]; then
    echo "it lacks ensurepip: apt-get install $("$1" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"
  else
    echo "it lacks ensurepip; name a complete Python: HAM_PYTHON=/path/to/python3.11"
  fi
}

# ham_install PYTHON FILE...: install what the files list, if anything is missing.
ham_install() {
  local python=$1 file started=$SECONDS missing args=()
  shift
  missing=$("$python" "$ham_top/local/missing_packages.py" "$@") || return 1
  [ -n "$missing" ] || return 0
  for file in "$@"; do args+=(-r "$file"); done
  echo "path.sh: installing, with what they need: $missing" >&2
  [[ $missing != *torch==* ]] || echo "path.sh: this takes about 5 GB of disk and 1 to 10 minutes, once" >&2
  if [ -t 2 ]; then
    "$python" -m pip --disable-pip-version-check install "${args[@]}" >&2 || ham_install_failed || return 1
  else
    ham_heartbeat "$started" &
    local heart=$! status=0
    "$python" -m pip --disable-pip-version-check install --quiet "${args[@]}" >&2 || status=$?
    kill "$heart" 2>/dev/null || true
    wait "$heart" 2>/dev/null || true
    [ "$status" = 0 ] || ham_install_failed || return 1
  fi
  echo "path.sh: installed in $((SECONDS - started)) s" >&2
}

ham_install_failed() {
  echo "error: path.sh: pip could not install the packages (its last lines say why); mend that and call again" >&2
  return 1
}

# ham_heartbeat STARTED: where there is no terminal for pip's bars, a line now and then.
ham_heartbeat() {
  while sleep 20 && kill -0 "$$" 2>/dev/null; do echo "path.sh: still installing, $((SECONDS - $1)) s" >&2; done
}

ham_environment
