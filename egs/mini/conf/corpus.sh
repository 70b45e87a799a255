# Corpus `mini`: synthetic voices. Each variable here is an option of run.sh.
# shellcheck shell=bash disable=SC2034,SC2154
config=$top/conf/mini.yaml
train_roots=$corpus_dir/data/mini
test_roots=$corpus_dir/data/mini
mini_train_speakers=208 # stage 1: training speakers, balanced over 2 sexes x 4 accents
mini_test_speakers=48   # stage 1: test speakers, others than the training speakers
mini_sessions=3         # stage 1: sessions of each speaker
mini_utterances=4       # stage 1: utterances of each session, 3 to 4 s each
mini_seed=1             # stage 1: seed of the corpus; --seed is the experiment's
top_n=50                # stage 6: highest scores against the cohort of 192 speakers that as_norm keeps
cohort_utts=4           # stage 5: utterances of each training speaker in the cohort's mean, of its 12; 0: all
corpus_options=(mini_train_speakers mini_test_speakers mini_sessions mini_utterances mini_seed)
