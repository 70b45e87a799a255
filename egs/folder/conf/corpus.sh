# Corpus `folder`: anybody's speech. Each variable here is an option of run.sh.
# shellcheck shell=bash disable=SC2034,SC2154
config=$top/conf/small.yaml
train_roots= # folders of training speech, wav/<speaker>/<session>/<utterance>, "A B"
test_roots=  # folders of test speech, likewise; with trials/*.txt where there are trial lists
top_n=50     # stage 6: highest scores against the cohort that as_norm keeps; a tenth to a third of the speakers is usual
