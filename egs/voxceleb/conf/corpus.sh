# Corpus `voxceleb`, from folders that are unpacked already. Each variable here is an option of run.sh.
# shellcheck shell=bash disable=SC2034,SC2154
config=$top/conf/ecapa_tdnn.yaml
train_roots= # e.g. /data/vox1_dev, which holds wav/id10001/...
test_roots=  # e.g. /data/vox1_test, which holds wav/id10270/... and trials/veri_test2.txt
