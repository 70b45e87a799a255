# Stage 1 of `folder`, sourced by run.sh: the speech is there already.
# shellcheck shell=bash disable=SC2154
[ -n "$train_roots" ] || fail 2 "run.sh: --corpus folder needs --train_roots \"A B\", folders with wav/<speaker>/<session>/<utterance>"
[ -n "$test_roots" ] || fail 2 "run.sh: --corpus folder needs --test_roots \"C D\", folders with wav/ and, where there are any, trials/*.txt"
log "nothing to download: $train_roots $test_roots"
