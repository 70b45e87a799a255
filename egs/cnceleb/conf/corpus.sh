# Corpus `cnceleb`: CN-Celeb1 and 2 with MUSAN and RIRS_NOISES. Each variable here is an option of run.sh.
# shellcheck shell=bash disable=SC2034,SC2154
config=$top/conf/ecapa_tdnn_cnceleb.yaml
train_set="cn1_dev cn2" # what to train on: cn1_dev, cn2, or both
join_short_s=5      # stage 1: training utterances below are joined to at least so many seconds, by speaker and genre; 0: none
enrol_list=map      # enrolment models: map, of enroll.map (several recordings each), or lst, of enroll.lst (the owners' joined one)
source=official     # where CN-Celeb comes from: official (openslr), or none: nothing is fetched, the archives come from you
openslr_urls=       # where it comes from: openslr's mirrors in the order to try, "A B"; default: the catalogue's
insecure=false      # true: do not verify certificates; whoever sits in between can then exchange the files
num_connections=4   # stage 1: files that are loaded at the same time
archives=           # folder of the archives, also if you have them; default <data_dir>/archives
keep_archives=true  # false: each archive is removed once it is unpacked
accept_repacked=false # true: archives that you have packed anew are taken, whatever their checksum; what is in them is checked
wav_root=           # CN-Celeb that is unpacked already; nothing of it is fetched then
corpora_dir=        # folder to unpack into, and of the joined utterances; default <data_dir>/corpora
max_missing_files=0 # stage 1: utterances that each set may lack, speakers of a list, undecodable short utterances
catalogue=          # other archives, counts and addresses than those of conf/archives.yaml
musan=auto          # unpacked MUSAN; auto: fetched; "": none, noise and babble are made
rirs=auto           # unpacked RIRS_NOISES; auto: fetched; "": none, rooms are simulated
check=header        # stage 2: header, since checksums and counts have been verified, or decode, which reads everything once more
train_roots=        # not for this corpus, which has --train_set
test_roots=         # not for this corpus, whose trials are CN-Celeb.E
corpus_options=(train_set join_short_s enrol_list source openslr_urls insecure num_connections archives keep_archives
  accept_repacked wav_root corpora_dir max_missing_files catalogue)

# shellcheck source=local/corpora.sh
. "$top/local/corpora.sh"

# derive_options: what follows from the options, in any stage.
derive_options() {
  check_corpora_options cn1_dev cn2
  [[ $source == official || $source == none ]] || fail 2 "run.sh: --source: expected official or none, found '$source'"
  [[ $enrol_list == map || $enrol_list == lst ]] || fail 2 "run.sh: --enrol_list: expected map or lst, found '$enrol_list'"
  [[ $join_short_s =~ ^[0-9]{1,6}(\.[0-9]+)?$ ]] || fail 2 "run.sh: --join_short_s: expected seconds, found '$join_short_s'"
  train_list=("$data_dir/roots/cnceleb")
  test_list=("$data_dir/roots/cnceleb")
}
