#!/usr/bin/env bash
# The recipe on corpus cnceleb; the same data/ and exp/ as from the top.
exec "$(dirname "${BASH_SOURCE[0]}")/../../run.sh" --corpus cnceleb "$@"
