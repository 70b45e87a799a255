#!/usr/bin/env bash
# All eight losses on `mini`, one seed, and their table. What is trained already is not trained again; the options of
# run.sh may follow, such as --seed 2.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
losses=(softmax scaled_softmax am_softmax aam_softmax ram_softmax h_softmax ham_softmax eh_am_softmax)
names=()
for loss in "${losses[@]}"; do
  "$here/run.sh" --loss "$loss" --exp_name "losses/$loss" --resume "$@"
  names+=("$here/exp/losses/$loss")
done
# shellcheck source=path.sh
. "$here/path.sh"
python -m ham.bin.compare --exp_dirs "${names[@]}" | tee "$here/exp/losses/table.md"
