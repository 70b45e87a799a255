# Stage 1 of `voxceleb`, sourced by run.sh: fetch, unpack, convert, make the roots; what is done already costs little.
# shellcheck shell=bash disable=SC2154
read -ra train_sets <<<"$train_set"
read -ra lists <<<"$trial_lists"
request=(--train_set "${train_sets[@]}" --trial_lists "${lists[@]}")
stored= # of $wav_root

# prepare_roots OPTION...: count the speech, write the roots; a script finds its neighbours, whatever the user's setting.
prepare_roots() { PYTHONSAFEPATH='' python "$corpus_dir/local/prepare.py" "$@"; }

needs=$(prepare_roots --needs "${request[@]}") || exit $?
sets=${needs%%$'\n'*} # first line: archives; second line: files of trial lists
place=(--corpora_dir "$corpora_dir")
if [ -n "$wav_root" ]; then
  stored=$sets
  sets=
  place=(--wav_root "$wav_root")
  # Once the roots are there, the speech has been counted.
  [ -d "$data_dir/roots/vox1" ] || prepare_roots --count "${request[@]}" "${place[@]}" --archives "$archives" \
    --data_dir "$data_dir" --max_missing_files "$max_missing_files" --num_workers "$num_workers" \
    ${catalogue:+--catalogue "$catalogue"}
fi
way=(--source "$source")
[ -z "$key_file" ] || way+=(--key_file "$key_file")
[ -z "$official_url" ] || way+=(--official_url "$official_url")
[ "$insecure" = false ] || way+=(--insecure)
copy=$vox2_audio
[ "$copy" != m4a ] || copy=store
saving= # what needs less disk
if [[ " $sets " == *" vox2_dev "* ]]; then
  case $vox2_audio in
    wav) saving="--vox2_audio flac or m4a" ;;
    flac) saving="--vox2_audio m4a" ;;
  esac
fi
fetch_corpora "$sets" "${needs#*$'\n'}" "$stored" --format "$copy" --saving="$saving" "${way[@]}"
if [[ " $sets " == *" vox2_dev "* && $vox2_audio = m4a ]]; then
  [ -n "$(ls "$corpora_dir/vox2_dev/m4a" 2>/dev/null)" ] ||
    fail 1 "$corpora_dir/vox2_dev/m4a: expected M4A files, found none; choose the format of vox2_dev/wav with \
--vox2_audio, or remove $corpora_dir/vox2_dev.unpacked.json to load them again"
elif [[ " $sets " == *" vox2_dev "* ]]; then
  ham convert --source "$corpora_dir/vox2_dev/m4a" --target "$corpora_dir/vox2_dev/wav" --format "$vox2_audio" \
    --num_workers "$num_workers" --max_missing_files "$max_missing_files"
fi
prepare_roots "${request[@]}" "${place[@]}" --archives "$archives" --data_dir "$data_dir" \
  --vox2_audio "$vox2_audio" --max_missing_files "$max_missing_files" --num_workers "$num_workers" \
  ${catalogue:+--catalogue "$catalogue"}
