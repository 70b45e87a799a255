#!/usr/bin/env bash
# Does fine-tuning pay? A model as it is, and fine-tuned with several losses and seeds, on the same trial lists:
# finetuned.sh --model DIR --train_roots "A B" --test_roots "C D". It is the table `finetuned` of conf/tables.yaml, and
# takes the options of tables.sh: --losses, --seeds, --set, --dry_run and others; what is done is not done again.
set -euo pipefail
exec "$(dirname "${BASH_SOURCE[0]}")/tables.sh" --configs finetuned --seeds "1 2 3" "$@"
