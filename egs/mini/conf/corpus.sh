# Corpus `mini`: synthetic voices. Each variable here is an option of run.sh.
# shellcheck shell=bash disable=SC2034,SC2154
config=$top/conf/mini.yaml
train_roots=$corpus_dir/data/mini
test_roots=$corpus_dir/data/mini
mini_train_speakers=208 # balanced over 2 sexes x 4 accents
mini_test_speakers=48   # others than the training speakers
mini_sessions=3         # of each speaker
mini_utterances=4       # of each session, 3 to 4 s each
mini_seed=1             # of the corpus; --seed is the experiment's
top_n=50                # of the 192 speakers that it trains on
cohort_utts=4           # of the 12 of each
corpus_options=(mini_train_speakers mini_test_speakers mini_sessions mini_utterances mini_seed)
