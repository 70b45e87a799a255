# Stage 1 of `cnceleb`, sourced by run.sh: fetch, unpack, make the root; what is done already costs little.
# shellcheck shell=bash disable=SC2154
sets="cn1 cn2"
[[ " $train_set " == *" cn2 "* ]] || sets=cn1 # which also holds the trials
way=(--source "$source")
[ "$insecure" = false ] || way+=(--insecure)
[ "$join_short_s" = 0 ] || way+=(--made_share 0.16) # joined utterances, a guess

# prepare_root OPTION...: count the speech, write the root; a script finds its neighbours, whatever the user's setting.
prepare_root() {
  local train_sets
  read -ra train_sets <<<"$train_set"
  PYTHONSAFEPATH='' python "$corpus_dir/local/prepare.py" --train_set "${train_sets[@]}" --corpora_dir "$corpora_dir" \
    --data_dir "$data_dir" --join_short_s "$join_short_s" --enrol_list "$enrol_list" --num_workers "$num_workers" \
    --max_missing_files "$max_missing_files" ${catalogue:+--catalogue "$catalogue"} "$@"
}

if [ -n "$wav_root" ]; then # what is there is counted before anything is fetched
  prepare_root --wav_root "$wav_root"
  fetch_corpora "" "" "$sets" "${way[@]}"
else
  fetch_corpora "$sets" "" "" "${way[@]}"
  prepare_root
fi
