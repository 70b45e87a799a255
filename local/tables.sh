#!/usr/bin/env bash
# Whole tables of results: every loss of a configuration with every seed, then one table with the published numbers
# beside. A row is an ordinary experiment, `./run.sh --config C --loss L --seed S`; what is done is not done again, so
# that this can be stopped, killed and called again. Called by egs/<corpus>/tables.sh.
set -euo pipefail
top=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)
# shellcheck source=local/log.sh
. "$top/local/log.sh"

corpus=$1
shift
corpus_dir=$top/egs/$corpus
configs=   # tables to make, by their configuration; default: all of the corpus
losses=    # losses of the rows; default: those of the table
seeds=     # seeds of the rows, "1 2 3"; default: the corpus's
backends=  # ways of scoring; default: those of the table
reference= # the loss that the others are compared with
gpus=      # numbers of GPUs, "0 1 2": as many rows at once; default: one row after the other on --device
set=       # changes of every row, as run.sh takes them; the corpus's own for a row come first
dry_run=false # print every command with its estimated time and disk, and do nothing
own_options=(configs losses seeds backends reference gpus set dry_run)

# The corpus's tables: names, seeds, and table_of CONFIG, which sets what a table needs.
all_configs='' default_seeds=''
# shellcheck source=/dev/null
. "$corpus_dir/conf/tables.sh"

help_message() {
  cat <<HELP
usage: egs/$corpus/tables.sh [--configs "C ..."] [--losses "L ..."] [--seeds "1 2 3"] [--dry_run] [options of run.sh]

tables of $corpus: $all_configs
$(for name in "${own_options[@]}"; do printf '  --%-10s %s\n' "$name" "$(sed -n "s/^$name=[^#]*# *//p" "$top/local/tables.sh")"; done)
HELP
}

handed_on=() # options for run.sh
exp_root=$corpus_dir/exp data_base=$corpus_dir/data device=auto
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) help_message && exit 0 ;;
    --*) ;;
    *) fail 2 "tables.sh: expected --option, found '$1'; a list of several words is quoted: --seeds \"1 2 3\"" ;;
  esac
  name=${1#--} value=true words=1
  if [[ $name == *=* ]]; then
    value=${name#*=} name=${name%%=*}
  elif [ $# -gt 1 ] && [[ $2 != --* ]]; then
    value=$2 words=2
  fi
  name=${name//-/_}
  case $name in
    corpus | config | loss | seed | stage | stop_stage | exp_name | resume)
      fail 2 "tables.sh: --$name: set by each row; the options are --configs, --losses, --seeds and those of run.sh"
      ;;
  esac
  [[ $words == 2 || $1 == *=* || $name == dry_run || $name == insecure || $name == keep_archives || $name == geometry ]] ||
    fail 2 "tables.sh: --$name needs a value"
  if [[ " ${own_options[*]} " == *" $name "* ]]; then
    printf -v "$name" %s "$value"
  else
    [ "$name" = exp_root ] && exp_root=$value
    [ "$name" = device ] && device=$value
    # Configurations with other training data have folders of their own beside it.
    if [ "$name" = data_dir ]; then data_base=$value; else handed_on+=("--$name" "$value"); fi
  fi
  shift "$words"
done
[[ $dry_run == true || $dry_run == false ]] || fail 2 "tables.sh: --dry_run: expected true or false, found '$dry_run'"
configs=${configs:-$all_configs}
seeds=${seeds:-$default_seeds}
for seed in $seeds; do
  [[ $seed =~ ^(0|[1-9][0-9]{0,14})$ ]] || fail 2 "tables.sh: --seeds: expected whole numbers, \"1 2 3\", found '$seed'"
done
for list in seeds losses configs gpus; do
  twice=$(tr -s ' ' '\n' <<<"${!list}" | sort | uniq -d | head -n 1)
  [ -z "$twice" ] || fail 2 "tables.sh: --$list: expected each once, found '$twice' twice"
done
for gpu in $gpus; do
  [[ $gpu =~ ^[0-9]+$ ]] || fail 2 "tables.sh: --gpus: expected numbers of GPUs, \"0 1\", found '$gpu'"
done
[[ -z $gpus || $device == auto || $device == cuda ]] || fail 2 "tables.sh: --device $device: contradicts --gpus $gpus"
for config in $configs; do
  [[ " $all_configs " == *" $config "* ]] || fail 2 "tables.sh: --configs: unknown table '$config'; choose from: $all_configs"
done
# shellcheck source=path.sh
. "$top/path.sh"
# shellcheck source=local/cpu.sh
. "$top/local/cpu.sh"
ham() { PYTHONSAFEPATH=1 python -m "ham.bin.$1" "${@:2}"; }

# quoted WORD...: a command line that a shell reads as these words.
quoted() {
  local word line=
  for word in "$@"; do
    case $word in
      *[!A-Za-z0-9_./=:,@%+-]* | '') line+=" '${word//\'/\'\\\'\'}'" ;;
      *) line+=" $word" ;;
    esac
  done
  printf '%s\n' "${line# }"
}

# read_table CONFIG: the table's variables, with what the command line says instead.
read_table() {
  local given_losses=$losses given_backends=$backends given_reference=$reference
  row_options=() num_utts='' num_speakers='' num_test_utts=0 num_trials=0 table_data_dir=$data_base
  table_of "$1"
  table_losses=${given_losses:-$table_losses}
  table_backends=${given_backends:-$table_backends}
  table_reference=${given_reference:-$table_reference}
  if [[ " $table_losses " != *" $table_reference "* ]]; then
    [ -z "$given_reference" ] || fail 2 "tables.sh: --reference: expected one of $table_losses, found '$reference'"
    table_reference=${table_losses%% *}
  fi
}

# exp_name CONFIG LOSS SEED: the name that run.sh gives the experiment.
exp_name() {
  local suffix=
  [ "$3" = 1 ] || suffix=_seed$3
  printf '%s\n' "$1_$2$suffix"
}

# set_command CONFIG LOSS SEED: the row as `command`, an array.
set_command() {
  command=("$top/run.sh" --corpus "$corpus" --config "$1" --loss "$2" --seed "$3" --stage 4 --resume true
    --backends "$table_backends" --data_dir "$table_data_dir" "${row_options[@]}" "${handed_on[@]}")
  local changes
  changes=$(changes_of "$1" "$2")
  [ -z "$changes" ] || command+=(--set "$changes")
}

# changes_of CONFIG LOSS: all changes of a row.
changes_of() {
  local own
  own=$(row_changes "$@")
  printf '%s\n' "$own${own:+${set:+ }}$set"
}

# set_preparation CONFIG: stages 1 to 3 as `command`.
set_preparation() {
  command=("$top/run.sh" --corpus "$corpus" --config "$1" --stop_stage 3 --data_dir "$table_data_dir"
    "${row_options[@]}" "${handed_on[@]}" ${set:+--set "$set"})
}

# stamp_of CONFIG: what a row depends on beside its experiment: command, configuration, data, as far as a checksum tells.
stamp_of() {
  quoted "${command[@]:1}"
  cat "$top/conf/$1.yaml" "$corpus_dir/conf/corpus.sh" "$table_data_dir"/store/*/meta.json 2>/dev/null | cksum
}

# run_row CONFIG LOSS SEED: train, embed, score and report; a row is done if its stamp says the same and nothing in the
# experiment is newer.
run_row() {
  local name stamp line status=0
  name=$(exp_name "$@")
  stamp=$exp_root/$name/.row
  set_command "$@"
  line=$(stamp_of "$1")
  if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$line" ] && [ -f "$exp_root/$name/results.json" ] &&
    [ ! "$exp_root/$name/average.pt" -nt "$stamp" ] && [ ! "$exp_root/$name/results.json" -nt "$stamp" ]; then
    log "row $name: done"
    return
  fi
  log "row $name"
  if [ -n "${CUDA_VISIBLE_DEVICES_OF_ROW:-}" ]; then
    mkdir -p "$exp_root"
    CUDA_VISIBLE_DEVICES=$CUDA_VISIBLE_DEVICES_OF_ROW "${command[@]}" >"$exp_root/$name.log" 2>&1 || status=$?
    [ "$status" = 0 ] || log "row $name failed: $(tail -n 1 "$exp_root/$name.log") (log: $exp_root/$name.log)"
  else
    "${command[@]}" || status=$?
  fi
  [ "$status" = 0 ] || return "$status"
  printf '%s\n' "$line" >"$stamp.part"
  mv "$stamp.part" "$stamp"
}

# run_rows ROW...: rows "CONFIG LOSS SEED"; all are tried, a wrong request (exit 2) or a signal stops.
run_rows() {
  local row status failed=0
  local -a parts
  for row in "$@"; do
    read -ra parts <<<"$row"
    status=0
    run_row "${parts[@]}" || status=$?
    [ "$status" != 2 ] || return 2
    if [ "$status" -gt 128 ]; then
      log "row $row: ended by signal $((status - 128))"
      return "$status"
    fi
    [ "$status" = 0 ] || failed=1
  done
  return "$failed"
}

# run_all ROW...: one row after the other, or on each GPU one.
run_all() {
  [ -n "$gpus" ] || {
    run_rows "$@"
    return
  }
  local -a list workers=() mine
  local at=0 k gpu failed=0
  read -ra list <<<"$gpus"
  set -m
  for gpu in "${list[@]}"; do
    mine=()
    for ((k = at; k < $#; k += ${#list[@]})); do mine+=("${@:k+1:1}"); done
    at=$((at + 1))
    [ ${#mine[@]} -gt 0 ] || continue
    CUDA_VISIBLE_DEVICES_OF_ROW=$gpu run_rows "${mine[@]}" &
    workers+=($!)
  done
  set +m
  # Each worker is a group of its own; whoever ends this script ends them too.
  # shellcheck disable=SC2064 # the workers of now are meant
  trap "kill -TERM -- ${workers[*]/#/-} 2>/dev/null; exit 143" TERM INT HUP
  for k in "${workers[@]}"; do
    at=0
    wait "$k" || at=$?
    if [ "$at" = 2 ] || [ "$failed" = 0 ] || [ "$at" -gt 128 ]; then failed=$at; fi
  done
  trap - TERM INT HUP
  return "$failed"
}

# set_table CONFIG: what puts the finished rows side by side, as `command`.
set_table() {
  local loss seed group systems=() published=()
  for loss in $table_losses; do
    group=
    for seed in $seeds; do group+=${group:+,}$exp_root/$(exp_name "$1" "$loss" "$seed"); done
    systems+=("$loss=$group")
  done
  [ ! -f "$corpus_dir/conf/published.yaml" ] ||
    published=(published --published "$corpus_dir/conf/published.yaml" --published_config "$1")
  command=(python -m ham.bin.table --data_dir "$table_data_dir" --systems "${systems[@]}" --reference "$table_reference"
    --backends "$table_backends" "${published[@]}" --title "$corpus, $1" --out "$exp_root/tables/$1")
}

# make_table CONFIG: the finished rows side by side.
make_table() {
  set_table "$1"
  log "table $1 in $exp_root/tables/$1"
  PYTHONSAFEPATH=1 "${command[@]}"
}

# check_rows CONFIG: refuse a wrong request before any row is trained.
check_rows() {
  local loss changes=()
  "$top/run.sh" --corpus "$corpus" "${row_options[@]}" "${handed_on[@]}" --help >/dev/null
  for loss in $table_losses; do
    changes=()
    [ -z "$(changes_of "$1" "$loss")" ] || changes=(--set "$(changes_of "$1" "$loss")")
    ham check_request --config "$top/conf/$1.yaml" --loss "$loss" --device "$device" --backends "$table_backends" \
      "${changes[@]}" >/dev/null || exit $?
  done
}

# estimate CONFIG: prints every command of the table, with an estimate where the size of the data is known; adds up `total_s` and `total_gb`.
estimate() {
  local loss seed sizes=() words changes=() crops='' unknown=false line seconds gigabytes first=${table_losses%% *}
  [ -z "$num_utts" ] || sizes=(--num_utts "$num_utts" --num_speakers "$num_speakers" --num_test_utts "$num_test_utts"
    --num_trials "$num_trials")
  read -ra words <<<"$table_backends"
  [ "$table_backends" != all ] || words=(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15)
  [[ "$table_backends" != all && "$table_backends" != *+crops* ]] || crops=true
  [ -z "$(changes_of "$1" "$first")" ] || changes=(--set "$(changes_of "$1" "$first")")
  line=$(ham estimate --config "$top/conf/$1.yaml" --loss "$first" --data_dir "$table_data_dir" --device "$device" \
    --num_backends "${#words[@]}" ${crops:+--crops} "${sizes[@]}" "${changes[@]}" 2>&1) || unknown=true
  line=$(tail -n 1 <<<"$line")
  [[ $unknown == false || $line == *"expected a prepared --data_dir"* ]] || fail 2 "tables.sh: $1: ${line#error: }"
  set_preparation "$1"
  if [ "$unknown" = true ]; then
    echo "# table $1: no estimate: ${line#error: }"
    seconds='' gigabytes='' unestimated=", the tables without an estimate left out"
  else
    seconds=${line%% s,*}
    gigabytes=${line#*, }
    gigabytes=${gigabytes%% GB*}
    echo "# table $1: a row trains for about $(duration "$seconds") and takes $gigabytes GB"
    echo "# ${line#*: }, loss $first; stages 1 to 3 and 5 to 7 come on top"
  fi
  quoted "${command[@]}"
  for seed in $seeds; do
    for loss in $table_losses; do
      set_command "$1" "$loss" "$seed"
      echo "$(quoted "${command[@]}")${seconds:+  # $(duration "$seconds"), $gigabytes GB}"
      total_s=$((total_s + ${seconds:-0}))
      total_gb=$(awk "BEGIN {print $total_gb + ${gigabytes:-0}}")
    done
  done
  set_table "$1"
  quoted "${command[@]}"
}

# nearest PATH: the path, or the folder above it that is there.
nearest() {
  local path=$1
  while [ ! -e "$path" ]; do path=$(dirname "$path"); done
  printf '%s\n' "$path"
}

# duration SECONDS: in words.
duration() { awk -v s="$1" 'BEGIN {if (s < 5400) printf "%.0f min", s / 60; else if (s < 172800) printf "%.1f h", s / 3600; else printf "%.1f days", s / 86400}'; }

if [ "$dry_run" = true ]; then
  total_s=0 total_gb=0 unestimated=''
  for config in $configs; do
    read_table "$config"
    check_rows "$config"
    estimate "$config"
  done
  num_gpus=$(wc -w <<<"$gpus")
  echo "# all rows: $(duration $((total_s / (num_gpus > 0 ? num_gpus : 1)))) of training, $total_gb GB$unestimated;" \
    "free: $(df -Pk "$(nearest "$exp_root")" | awk 'NR == 2 {printf "%.1f GB", $4 / 976562.5}')"
  exit 0
fi

for config in $configs; do
  read_table "$config"
  check_rows "$config"
done
failed=0
for config in $configs; do
  read_table "$config"
  set_preparation "$config"
  "${command[@]}"
  rows=()
  for seed in $seeds; do
    for loss in $table_losses; do rows+=("$config $loss $seed"); done
  done
  status=0
  run_all "${rows[@]}" || status=$?
  [ "$status" -lt 2 ] || exit "$status"
  if [ "$status" != 0 ] || ! make_table "$config"; then failed=1; fi
done
[ "$failed" = 0 ] || fail 1 "tables.sh: rows failed; call again to try those that are not done, the others are kept"
