#!/usr/bin/env bash
# Environment, lint, types and tests in one command. `./test.sh --long` runs the tests that take minutes as well;
# what follows is handed to pytest, as in `./test.sh tests/losses -k ham`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck disable=SC2034 # path.sh reads it
ham_requirements=requirements-dev.txt
# shellcheck source=path.sh
. ./path.sh

selection=(-m "not long")
if [ "${1:-}" = --long ]; then
  selection=()
  shift
fi

mapfile -t scripts < <(find . -name .venv -prune -o -name '*.sh' -print; echo .ci/run)
echo "== ruff, shellcheck, mypy" >&2
ruff check .
ruff format --check .
shellcheck -x "${scripts[@]}"
mypy --strict ham
echo "== pytest" >&2
python -m pytest -q "${selection[@]}" "$@"
