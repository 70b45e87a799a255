# Stage 1 of `mini`, sourced by run.sh: nothing is downloaded, the voices are made.
# shellcheck shell=bash disable=SC2154
[ "$train_roots" = "$test_roots" ] ||
  fail 2 "run.sh: corpus mini makes its own speech, in one root; for yours: --corpus folder --train_roots \"A B\" --test_roots \"C D\""
python "$corpus_dir/local/make_corpus.py" --out "$train_roots" --seed "$mini_seed" --num_workers "$num_workers" \
  --preset "$mini_preset" --unequal "$mini_unequal" \
  ${mini_train_speakers:+--num_train_speakers "$mini_train_speakers"} \
  ${mini_test_speakers:+--num_test_speakers "$mini_test_speakers"} \
  --num_sessions "$mini_sessions" --num_utterances "$mini_utterances"
