# Stage 1 of `mini`, sourced by run.sh: nothing is downloaded, the voices are made.
# shellcheck shell=bash disable=SC2154
python "$corpus_dir/local/make_corpus.py" --out "$train_roots" --seed "$mini_seed" --num_workers "$num_workers" \
  --num_train_speakers "$mini_train_speakers" --num_test_speakers "$mini_test_speakers" \
  --num_sessions "$mini_sessions" --num_utterances "$mini_utterances"
