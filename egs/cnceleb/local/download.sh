# Stage 1 of `cnceleb`, sourced by run.sh: fetch, unpack, make the root; what is done already costs little.
# shellcheck shell=bash disable=SC2154
sets="cn1 cn2"
[[ " $train_set " == *" cn2 "* ]] || sets=cn1 # which also holds the trials
place=()
if [ -n "$wav_root" ]; then
  sets=
  place=(--wav_root "$wav_root")
fi
way=(--source "$source")
[ "$insecure" = false ] || way+=(--insecure)
fetch_corpora "$sets" "" "${way[@]}"
read -ra train_sets <<<"$train_set"
ham prepare_cnceleb --train_set "${train_sets[@]}" --corpora_dir "$corpora_dir" "${place[@]}" --data_dir "$data_dir" \
  --join_short_s "$join_short_s" --enrol_list "$enrol_list" --max_missing_files "$max_missing_files" \
  --num_workers "$num_workers" ${catalogue:+--catalogue "$catalogue"}
