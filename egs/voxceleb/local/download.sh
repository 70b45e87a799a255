# Stage 1 of `voxceleb`, sourced by run.sh: the archives are not fetched yet, unpacked folders are used.
# shellcheck shell=bash disable=SC2154
[ -n "$train_roots" ] && [ -n "$test_roots" ] ||
  fail 2 "run.sh: --corpus voxceleb: downloading is not built yet; name unpacked folders (wav, not m4a): --train_roots DIR --test_roots DIR, see egs/voxceleb/README.md"
log "nothing to download: $train_roots $test_roots"
