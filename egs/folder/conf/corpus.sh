# Corpus `folder`: anybody's speech. Each variable here is an option of run.sh.
# shellcheck shell=bash disable=SC2034,SC2154
config=$top/conf/small.yaml
train_roots= # speech to train on, "A B": folders or tables, docs/data.md shows what they may look like
test_roots=  # speech to test on; with trials/*.txt where there are trial lists
csv=         # tables with columns path, speaker and, where there are, session, split, sex: to train and test on
top_n=50     # a tenth to a third of the training speakers is usual; 300 for thousands
corpus_options=(csv)
