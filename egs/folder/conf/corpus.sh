# Corpus `folder`: anybody's speech. Each variable here is an option of run.sh.
# shellcheck shell=bash disable=SC2034,SC2154
config=$top/conf/small.yaml
train_roots= # speech to train on, "A B": folders or tables, docs/data.md shows what they may look like
test_roots=  # speech to test on, likewise; with trials/*.txt where there are trial lists
csv=         # tables with columns path, speaker and, where there are, session, split, sex: to train and test on
backends="cosine cosine+as_norm hyperbolic" # stages 5, 6: these, cosine+mean+as_norm, fusion and others (docs/scoring.md), or all
top_n=0      # stage 6: highest scores against the cohort that as_norm keeps; 0: a third of the cohort, at most 300
corpus_options=(csv)
