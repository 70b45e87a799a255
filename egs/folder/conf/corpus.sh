# Corpus `folder`: anybody's speech. Each variable here is an option of run.sh.
# shellcheck shell=bash disable=SC2034,SC2154
config=$top/conf/small.yaml
train_roots= # folders with wav/<speaker>/<session>/<utterance>, "A B"
test_roots=  # the same; with trials/*.txt where there are trial lists
top_n=50     # a tenth to a third of the training speakers is usual; 300 for thousands
