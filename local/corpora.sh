# What the corpora that are fetched have in common; sourced by egs/<corpus>/conf/corpus.sh.
# shellcheck shell=bash disable=SC2034,SC2154

# check_corpora_options SET...: check and complete the options that such corpora share; SET can be trained on.
check_corpora_options() {
  local name
  [[ $train_set == *[a-z]* ]] || fail 2 "run.sh: --train_set: expected one or more of $*, found nothing"
  for name in $train_set; do
    [[ " $* " == *" $name "* ]] || fail 2 "run.sh: --train_set: expected one or more of $*, found '$name'"
  done
  [ -z "$train_roots$test_roots" ] ||
    fail 2 "run.sh: corpus $corpus makes its own roots; for yours: --corpus folder --train_roots \"A B\" --test_roots \"C D\""
  [ -z "$wav_root" ] || [ -d "$wav_root" ] || fail 2 "run.sh: --wav_root '$wav_root': no such folder"
  [ -z "$wav_root" ] || [ -n "$(find -L "$wav_root" -type f \( -name '*.wav' -o -name '*.flac' -o -name '*.m4a' \) -print -quit)" ] ||
    fail 2 "run.sh: --wav_root '$wav_root': expected wav, flac or m4a files below it, found none"
  [[ $max_missing_files =~ ^[0-9]{1,15}$ ]] ||
    fail 2 "run.sh: --max_missing_files: expected a whole number, found '$max_missing_files'"
  archives=${archives:-$data_dir/archives}
  corpora_dir=${corpora_dir:-$data_dir/corpora}
  for name in musan rirs; do
    [ "${!name}" = auto ] || continue
    made_in_stage_1+=("$name")
    [ "$name" = rirs ] || musan=$corpora_dir/musan
    [ "$name" = musan ] || rirs=$corpora_dir/RIRS_NOISES
  done
}

# fetch_corpora "SET..." "LIST..." "STORED..." [OPTION...]: fetch archives, MUSAN and RIRS_NOISES where they are wanted,
# and trial lists; unpack. STORED are sets that are there already; like SET their audio will go into the stores.
fetch_corpora() {
  local sets lists stored common name urls addresses=()
  read -ra sets <<<"$1 ${made_in_stage_1[*]}"
  read -ra lists <<<"$2"
  read -ra stored <<<"$3"
  common=(--archives "$archives" --corpora_dir "$corpora_dir" --keep_archives "$keep_archives"
    --accept_repacked "$accept_repacked" --catalogue "${catalogue:-$corpus_dir/conf/archives.yaml}")
  for name in mirror_repo lists_url; do # which not every corpus has
    if is_option "$name" && [ -n "${!name}" ]; then addresses+=("--$name" "${!name}"); fi
  done
  read -ra urls <<<"$openslr_urls"
  [ ${#urls[@]} = 0 ] || addresses+=(--openslr_urls "${urls[@]}")
  [ $((${#sets[@]} + ${#lists[@]})) -gt 0 ] || return 0
  ham download --sets "${sets[@]}" --lists "${lists[@]}" "${common[@]}" "${addresses[@]}" \
    --store_dir "$data_dir/store" --stored "${sets[@]}" "${stored[@]}" --num_connections "$num_connections" \
    --stop_stage "$stop_stage" "${@:4}"
  [ ${#sets[@]} = 0 ] ||
    ham unpack --sets "${sets[@]}" "${common[@]}" --max_missing_files "$max_missing_files" --num_workers "$num_workers"
}
