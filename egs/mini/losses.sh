#!/usr/bin/env bash
# All eight losses on `mini` and their table: losses.sh [SEED], by default seed 1. What is trained already is not trained
# again, so that it can be stopped and called again.
set -euo pipefail
seed=${1:-1}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
losses=(softmax scaled_softmax am_softmax aam_softmax ram_softmax h_softmax ham_softmax eh_am_softmax)
names=()
for loss in "${losses[@]}"; do
  "$here/run.sh" --loss "$loss" --exp_name "losses_seed$seed/$loss" --seed "$seed" --resume
  names+=("$here/exp/losses_seed$seed/$loss")
done
# shellcheck source=path.sh
. "$here/path.sh"
python -m ham.bin.compare --exp_dirs "${names[@]}" | tee "$here/exp/losses_seed$seed/table.md"
