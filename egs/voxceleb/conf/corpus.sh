# Corpus `voxceleb`: VoxCeleb1 and 2 with MUSAN and RIRS_NOISES. Each variable here is an option of run.sh.
# shellcheck shell=bash disable=SC2034,SC2154
config=$top/conf/ecapa_tdnn.yaml
train_set=vox2_dev  # what to train on: vox1_dev, vox2_dev, or "vox1_dev vox2_dev"
trial_lists=        # what to test on: some of vox1_o_clean vox1_e_clean vox1_h_clean vox1_o vox1_e vox1_h; default: the cleaned ones that can be
source=official     # where VoxCeleb comes from: official (key in HAM_VOXCELEB_KEY or --key_file), mirror, or none: from you
key_file=           # file that holds the key
official_url=       # the owners' address, if it has changed
mirror_repo=        # the mirror, a Hugging Face data set owner/name; its server: HF_ENDPOINT; default: the catalogue's
lists_url=          # folder of the trial lists; default: the catalogue's address of each
openslr_urls=       # where MUSAN and RIRS_NOISES come from: openslr's mirrors in the order to try, "A B"; default: the catalogue's
insecure=false      # true: do not verify certificates; whoever sits in between can then read the key
num_connections=4   # stage 1: files that are loaded at the same time
archives=           # folder of archives and trial lists, also if you have them; default <data_dir>/archives
keep_archives=true  # false: each archive is removed once it is unpacked
accept_repacked=false # true: archives that you have packed anew are taken, whatever their checksum; what is in them is checked
wav_root=           # VoxCeleb that is unpacked already, in any layout; nothing of it is fetched then
corpora_dir=        # folder to unpack into; default <data_dir>/corpora
vox2_audio=flac     # copy of VoxCeleb2's m4a files that is trained on: flac, wav, or m4a for none
max_missing_files=0 # stage 1: utterances that each set may lack
catalogue=          # other archives, counts and addresses than those of conf/archives.yaml
musan=auto          # unpacked MUSAN; auto: fetched; "": none, noise and babble are made
rirs=auto           # unpacked RIRS_NOISES; auto: fetched; "": none, rooms are simulated
check=header        # stage 2: header, since checksums and counts have been verified, or decode, which reads everything once more
train_roots=        # not for this corpus, which has --train_set
test_roots=         # not for this corpus, which has --trial_lists
corpus_options=(train_set trial_lists source key_file official_url mirror_repo lists_url openslr_urls insecure
  num_connections archives keep_archives accept_repacked wav_root corpora_dir vox2_audio max_missing_files catalogue)

# shellcheck source=local/corpora.sh
. "$top/local/corpora.sh"

# derive_options: what follows from the options, in any stage.
derive_options() {
  check_corpora_options vox1_dev vox2_dev
  [[ $source =~ ^(official|mirror|none)$ ]] || fail 2 "run.sh: --source: expected official, mirror or none, found '$source'"
  [[ $official_url != *\?* ]] || fail 2 "run.sh: --official_url: expected the address alone; the key has its own places"
  [[ $vox2_audio =~ ^(flac|wav|m4a)$ ]] || fail 2 "run.sh: --vox2_audio: expected flac, wav or m4a, found '$vox2_audio'"
  local name
  train_list=()
  for name in vox1 vox2; do
    [[ " $train_set " != *" ${name}_dev "* ]] || train_list+=("$data_dir/roots/$name")
  done
  test_list=("$data_dir/roots/vox1")
}
