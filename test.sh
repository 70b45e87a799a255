#!/usr/bin/env bash
# Environment, lint, types and tests in one command. `--fast` leaves out whole runs, several processes and kills, `--all`
# runs the long further cases too; other arguments are handed to pytest: `./test.sh tests/losses -k ham`.
set -euo pipefail
if ((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] < 404)); then
  echo "error: test.sh: expected bash 4.4 or newer, found $BASH_VERSION" >&2
  exit 2
fi
some=(-m "not long")
case ${1:-} in
  --fast) some=(-m "not recipe and not long") && shift ;;
  --all) some=() && shift ;;
esac
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck disable=SC2034 # path.sh reads it
ham_requirements=requirements-dev.txt
# shellcheck source=path.sh
. ./path.sh

scripts=(./*.sh .ci/run local/*.sh local/*.sbatch egs/*/*.sh egs/*/*/*.sh)
echo "== ruff, shellcheck, mypy" >&2
ruff check .
ruff format --check .
shellcheck -x "${scripts[@]}"
mypy --strict ham
for folder in egs/*/local; do # one after the other: modules of different corpora may have the same name
  ! compgen -G "$folder/*.py" >/dev/null || mypy --strict "$folder"/*.py
done
echo "== pytest" >&2
# A process a core, each with whole files of tests: a file makes its speech and its models once.
python -m pytest -q -n auto --maxprocesses 8 --dist loadfile "${some[@]}" "$@"
