# Corpus `mini`: synthetic voices. Each variable here is an option of run.sh.
# shellcheck shell=bash disable=SC2034,SC2154
config=$top/conf/mini.yaml
train_roots=$corpus_dir/data/mini
test_roots=$corpus_dir/data/mini
mini_preset=default     # stage 1: default, or large: more speakers, 6 accents, ages, a room and a microphone in every session
mini_unequal=false      # stage 1: true: training speakers are heard unequally often, from 2 utterances to all
mini_train_speakers=    # stage 1: training speakers, balanced over sexes and accents; else 208, of large 1000
mini_test_speakers=     # stage 1: test speakers, others than the training speakers; else 48, of large 200
mini_sessions=3         # stage 1: sessions of each speaker
mini_utterances=4       # stage 1: utterances of each session, 3 to 4 s each
mini_seed=1             # stage 1: seed of the corpus; --seed is the experiment's
top_n=50                # stage 6: highest scores against the cohort of 192 speakers that as_norm keeps
cohort_utts=4           # stage 5: utterances of each training speaker in the cohort's mean, of its 12; 0: all
corpus_options=(mini_preset mini_unequal mini_train_speakers mini_test_speakers mini_sessions mini_utterances mini_seed)

# derive_options: other corpora than the default one have folders of their own, data/large and exp/large for example.
derive_options() {
  local variant=
  [[ $mini_preset =~ ^(default|large)$ ]] || fail 2 "run.sh: --mini_preset: expected default or large, found '$mini_preset'"
  [[ $mini_unequal =~ ^(true|false)$ ]] || fail 2 "run.sh: --mini_unequal: expected true or false, found '$mini_unequal'"
  [ "$mini_preset" = default ] || variant=$mini_preset
  [ "$mini_unequal" = false ] || variant=${variant:+${variant}_}unequal
  [ -n "$variant" ] || return 0
  [ "$data_dir" != "$corpus_dir/data" ] || data_dir=$corpus_dir/data/$variant
  [ "$exp_root" != "$corpus_dir/exp" ] || exp_root=$corpus_dir/exp/$variant
  [ "$train_roots" != "$corpus_dir/data/mini" ] || { train_roots=$data_dir/mini && train_list=("$train_roots"); }
  [ "$test_roots" != "$corpus_dir/data/mini" ] || { test_roots=$data_dir/mini && test_list=("$test_roots"); }
}
