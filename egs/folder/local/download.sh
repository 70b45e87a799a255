# Stage 1 of `folder`, sourced by run.sh: the speech is there already.
# shellcheck shell=bash disable=SC2154
[ -n "$train_roots$test_roots$csv" ] ||
  fail 2 "run.sh: --corpus folder needs --train_roots \"A B\" and --test_roots \"C D\", or --csv FILE; docs/data.md shows what they may look like"
[ -n "$train_roots$csv" ] || [ "$stop_stage" -lt 4 ] ||
  fail 2 "run.sh: --corpus folder has nothing to train on: add --train_roots \"A B\" or --csv FILE, or stop before the training (--stop_stage 3)"
log "nothing to download: $train_roots $test_roots $csv"
