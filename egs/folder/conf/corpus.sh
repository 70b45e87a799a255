# Corpus `folder`: anybody's speech. Each variable here is an option of run.sh.
# shellcheck shell=bash disable=SC2034,SC2154
config=$top/conf/small.yaml
train_roots= # folders of training speech, wav/<speaker>/<session>/<utterance>, "A B"
test_roots=  # folders of test speech, likewise; with trials/*.txt where there are trial lists
backends="cosine cosine+as_norm hyperbolic" # stages 5, 6: these, cosine+mean+as_norm, fusion and others (docs/scoring.md), or all
top_n=0      # stage 6: highest scores against the cohort that as_norm keeps; 0: a third of the cohort, at most 300
