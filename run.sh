#!/usr/bin/env bash
# The recipe, from speech to an EER table. `./run.sh` alone runs stages 1 to 7 of the corpus `mini`.
set -euo pipefail
if ((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] < 404)); then
  echo "error: run.sh: expected bash 4.4 or newer, found $BASH_VERSION" >&2
  exit 2
fi
top=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" && pwd)
# shellcheck source=local/log.sh
. "$top/local/log.sh"
# shellcheck source=local/parse_options.sh
. "$top/local/parse_options.sh"

# Options and their defaults; those of the corpus (egs/<corpus>/conf/corpus.sh) come on top and may differ.
corpus=mini      # a folder of egs/
stage=1          # first stage
stop_stage=7     # last stage; after --stage 8 or 9 that one
config=          # the system, a file of conf/; the corpus names the default
loss=            # a loss in place of the configuration's, with its published settings
set=             # changes of the configuration, "train.epochs=3 loss.margin=0.3"
exp_name=auto    # the experiment's folder; auto: <configuration>_<loss>, and _seed<N> for another seed than 1
seed=1           # seed of weights, crops, augmentation, validation speakers
data_seed=1      # stage 2: seed of generated trials and test speakers
device=auto      # where to compute: auto, cpu, cuda or cuda:N
num_gpus=1       # stages 4, 5: processes on this machine, one a GPU (with --device cpu, on the CPU), or auto
nnodes=1         # stage 4: machines that train together, each of which runs this (docs/cluster.md)
rdzv=            # stage 4: HOST:PORT of one of them, where they meet
num_workers=2    # processes and threads of stages 1 to 3
resume=false     # stage 4: go on after the last checkpoint, to more epochs too where train.epochs has grown
init_from=       # stage 4: start from trained weights, of an experiment, a checkpoint, a model directory or an encoder
model=           # stage 5: measure a model directory in stages 5 to 7, an imported one for example, in place of a training
lm_set=          # stage 8: changes of the fine-tuning's configuration, "train.epochs=3 loss.margin=0.4"
profile=false    # stage 4: train nothing, only show where the time of a step goes
check=decode     # stage 2: decode every recording, or believe its header
verify=false     # stage 3: read the stores again and compare the checksum of every recording
max_bad_train_files=0 # stage 2: unreadable training recordings that are left out instead of refused
batch_size=16    # stage 5: utterances of a batch; does not change the embeddings
format=npz       # stage 5: ark, csv or parquet writes the embeddings in that format as well
backends="cosine hyperbolic" # stages 5, 6: these, cosine+mean+as_norm, fusion and others (docs/scoring.md), or all
cohort_utts=0    # stage 5: utterances of each training speaker in the cohort's mean; 0: all
train_chunk_s=0  # stage 5: seconds of each training utterance that mean, cohort and calibration embed, at random; 0: all
top_n=300        # stage 6: highest scores against the cohort that as_norm keeps; 0: a third of the cohort, at most 300
durations=       # stages 5, 6: error rates of test utterances cut to so many seconds, "1 2 3 5"
score_labels=false # stage 6: write target or nontarget behind each score, as wespeaker's metrics read them
geometry=true    # stage 7: measure and draw the embeddings' geometry as well
enrol=average    # stages 5, 6: models of several recordings: mean of the embeddings, or concatenate the recordings
musan=           # unpacked MUSAN; without it coloured noise and babble of the training speakers
rirs=            # unpacked RIRS_NOISES; without it simulated rooms
train_roots=     # speech to train on, "A B": folders or tables as in docs/data.md
test_roots=      # speech to test on, "A B"
data_dir=        # folder of data directories and stores; default egs/<corpus>/data
exp_root=        # folder of the experiments; default egs/<corpus>/exp
option_names=(corpus stage stop_stage config loss set exp_name seed data_seed device num_gpus nnodes rdzv num_workers resume init_from
  model lm_set profile check verify max_bad_train_files batch_size format backends cohort_utts train_chunk_s top_n durations score_labels geometry
  enrol musan rirs train_roots test_roots data_dir exp_root)

# show_option NAME: its meaning, the comment behind its default in the corpus's variables or here, and its value.
show_option() {
  local meaning value=${!1}
  meaning=$(sed -n "s/^$1=\"[^\"]*\" *# *//p; t; s/^$1=[^\" ]* *# *//p" "$corpus_dir/conf/corpus.sh" "$top/run.sh" | head -n 1)
  printf '  --%-20s %s%s\n' "$1" "$meaning" "${value:+ [$value]}"
}

help_message() {
  cat <<HELP
usage: ./run.sh [--stage N] [--stop_stage M] [--corpus NAME] [--loss NAME] [--config FILE] ...

1 download or make the speech   2 data directories    3 audio store          4 train
5 average, embed                6 scores, metrics     7 report               8 fine-tune with a larger margin
                                                                             9 export as ONNX
Stage 8 takes the experiment that stages 4 and 5 have made, and does 4 to 7 for <its name>_lm.
Stage 9 stands alone: ./run.sh --stage 9 exports the experiment, with --exp_name NAME_lm the fine-tuned one.

options of --corpus $corpus, in brackets their values now (- and _ are the same in a name):
$(for name in "${option_names[@]}"; do show_option "$name"; done)
HELP
}

# The corpus comes first: its variables are options too.
args=("$@")
for ((i = 0; i < $#; i++)); do
  case ${args[i]} in
    --corpus=*) corpus=${args[i]#*=} ;;
    --corpus) corpus=${args[i + 1]:-} ;;
  esac
done
corpora=$(cd "$top/egs" && for f in */conf/corpus.sh; do printf '%s ' "${f%%/*}"; done)
[[ $corpus =~ ^[A-Za-z0-9_-]+$ && -f $top/egs/$corpus/conf/corpus.sh ]] || fail 2 "run.sh: --corpus '$corpus': no such corpus; choose one of: $corpora"
corpus_dir=$top/egs/$corpus
# shellcheck source=/dev/null
. "$corpus_dir/conf/corpus.sh"
[[ ! -v corpus_options ]] || option_names+=("${corpus_options[@]}")
parse_options "$@"

for name in stage stop_stage seed data_seed nnodes num_workers batch_size max_bad_train_files cohort_utts top_n; do
  [[ ${!name} =~ ^[0-9]{1,15}$ ]] || fail 2 "run.sh: --$name: expected a whole number, found '${!name}'"
done
[[ $train_chunk_s =~ ^[0-9]{1,6}(\.[0-9]{1,6})?$ ]] ||
  fail 2 "run.sh: --train_chunk_s: expected seconds such as 2.015, or 0 for whole utterances, found '$train_chunk_s'"
[ "$stage" -ge 1 ] && [ "$stage" -le 9 ] || fail 2 "run.sh: --stage: expected 1 to 9, found $stage"
[ "$stage" -lt 8 ] || [ "$stop_stage" -ne 7 ] || stop_stage=$stage
[ "$stop_stage" -le 9 ] || fail 2 "run.sh: --stop_stage: expected 1 to 9, found $stop_stage"
[ "$stop_stage" -lt 9 ] || [ "$stage" -eq 9 ] || fail 2 "run.sh: --stop_stage 9: stage 9 stands alone; ask for it with --stage 9"
[ "$stage" -le "$stop_stage" ] || fail 2 "run.sh: --stage $stage comes after --stop_stage $stop_stage"
if [ ! -f "$config" ]; then
  for place in "$top/$config" "$top/conf/$config" "$top/conf/$config.yaml"; do
    [ -f "$place" ] && config=$place && break
  done
fi
[ -f "$config" ] || fail 2 "run.sh: --config '$config': no such file; there are: $(cd "$top" && echo conf/*.yaml)"
[ "$top_n" -ne 1 ] || fail 2 "run.sh: --top_n: expected 0 or at least 2, found $top_n"
[ "$batch_size" -ge 1 ] && [ "$num_workers" -ge 1 ] || fail 2 "run.sh: --batch_size and --num_workers: expected at least 1"
[ "$nnodes" -eq 1 ] || [ -n "$rdzv" ] || fail 2 "run.sh: --nnodes $nnodes: expected --rdzv HOST:PORT, one of the machines"
[[ $format =~ ^(npz|ark|csv|parquet)$ ]] || fail 2 "run.sh: --format: expected npz, ark, csv or parquet, found '$format'"
[[ $durations =~ ^([0-9]+(\.[0-9]+)?[ ,]*)*$ ]] ||
  fail 2 "run.sh: --durations: expected seconds such as \"1 2 3 5\", found '$durations'"
[[ $score_labels == true || $score_labels == false ]] ||
  fail 2 "run.sh: --score_labels: expected true or false, found '$score_labels'"
[[ $enrol == average || $enrol == concatenate ]] || fail 2 "run.sh: --enrol: expected average or concatenate, found '$enrol'"
[[ $check == decode || $check == header ]] || fail 2 "run.sh: --check: expected decode or header, found '$check'"
command=./run.sh # what results name; where stage 8 calls this script again, the first call
for word in "$@"; do
  case $word in
    *[!A-Za-z0-9_./=:,@%+-]* | '') command+=" '${word//\'/\'\\\'\'}'" ;;
    *) command+=" $word" ;;
  esac
done
command=${HAM_COMMAND:-$command}

data_dir=${data_dir:-$corpus_dir/data}
exp_root=${exp_root:-$corpus_dir/exp}
# Lists of folders and tables; a list that is one of them may hold spaces.
read -ra train_list <<<"$train_roots"
[ ! -e "$train_roots" ] || train_list=("$train_roots")
read -ra test_list <<<"$test_roots"
[ ! -e "$test_roots" ] || test_list=("$test_roots")
read -ra csv_list <<<"${csv:-}"
[ ! -e "${csv:-}" ] || csv_list=("$csv")
made_in_stage_1=() # of the folders that options name, those that need not be there yet
if [ "$(type -t derive_options)" = function ]; then derive_options; fi
for name in musan rirs; do
  [[ -z ${!name} || -d ${!name} || " ${made_in_stage_1[*]} " == *" $name "* ]] ||
    fail 2 "run.sh: --$name '${!name}': no such folder"
done
# shellcheck source=path.sh
. "$top/path.sh"
# shellcheck source=local/cpu.sh
. "$top/local/cpu.sh"
[ -t 2 ] || export TQDM_MININTERVAL=20 # a log file holds few lines of progress

processes=(--num_gpus "$num_gpus" --nnodes "$nnodes" --rdzv "$rdzv")
checked=() # before stage 4: whether its batch divides, what it starts from, its teacher
[ "$stage" -gt 4 ] || checked=("${processes[@]}")
[ "$stage" -gt 4 ] || [ "$stop_stage" -lt 4 ] || checked+=(--init_from "$init_from")
system=(--config "$config" --loss "$loss" --set "$set")
# One process loads the libraries and runs every command of ham/bin in a fork of itself, see ham/bin/commands.py; a
# folder ham/ where the user stands is not meant.
exec 3>&1
coproc commands { PYTHONSAFEPATH=1 exec python -m ham.bin.commands; }
# request WORD...: one request to that process; its answer is `said`. A signal is handed on, and the command ends in its
# own way: a training writes a checkpoint first. Its status is then that of run.sh.
request() {
  local status name ended=
  for name in INT TERM USR1; do
    # shellcheck disable=SC2064
    trap "ended=$name; printf '%s\0' $name >&${commands[1]}" "$name"
  done
  printf '%s\0' $# "$@" >&"${commands[1]}"
  IFS= read -r -d '' status <&"${commands[0]}" && IFS= read -r -d '' said <&"${commands[0]}" || return 1
  trap - INT TERM USR1
  [ -z "$ended" ] || [ "$status" -ne 0 ] || status=$((128 + $(kill -l "$ended")))
  [ -z "$ended" ] || exit "$status"
  return "$status"
}
# ham NAME ARGUMENT...: run a command of ham/bin.   ask NAME ARGUMENT...: the same; what it prints is `said`.
ham() { request run "$@"; }
ask() { request ask "$@"; }

if [ -n "$model" ]; then
  [ "$stage" -ge 5 ] && [ "$stop_stage" -le 7 ] ||
    fail 2 "run.sh: --model is measured by stages 5 to 7, found --stage $stage --stop_stage $stop_stage; --init_from trains from it"
  [ -f "$model/model.json" ] || fail 2 "run.sh: --model '$model': expected a model directory, found no model.json there"
  [ "$exp_name" != auto ] || exp_name=$(basename "$model")
fi
ask check_request --exp_name="$exp_name" --seed "$seed" --device "$device" --backends "$backends" \
  --durations "$durations" --format "$format" "${checked[@]}" "${system[@]}"
exp_name=$said
exp_dir=$exp_root/$exp_name

if [ "$stage" -le 1 ] && [ "$stop_stage" -ge 1 ]; then
  log "stage 1: the speech of corpus $corpus"
  # shellcheck source=/dev/null
  . "$corpus_dir/local/download.sh"
fi

if [ "$stage" -le 2 ] && [ "$stop_stage" -ge 2 ]; then
  log "stage 2: data directories in $data_dir"
  ham prepare_data --data_dir "$data_dir" --seed "$data_seed" --num_workers "$num_workers" --check "$check" \
    --max_bad_train_files "$max_bad_train_files" --train_roots "${train_list[@]}" --test_roots "${test_list[@]}" \
    --csv "${csv_list[@]}"
fi

if [ "$stage" -le 3 ] && [ "$stop_stage" -ge 3 ]; then
  log "stage 3: audio store in $data_dir/store"
  ham make_store --data_dir "$data_dir" --num_workers "$num_workers" --verify "$verify" \
    ${musan:+--musan "$musan"} ${rirs:+--rirs "$rirs"} "${system[@]}"
fi

if [ "$stage" -le 4 ] && [ "$stop_stage" -ge 4 ]; then
  printf -v curves '%q ' "$(type -P tensorboard)" --logdir "$exp_dir/tensorboard"
  log "stage 4: train in $exp_dir (log: train.jsonl), curves: ${curves% }"
  ham train --data_dir "$data_dir" --exp_dir "$exp_dir" --seed "$seed" --device "$device" \
    --resume "$resume" --init_from "$init_from" --profile "$profile" --command "$command" --musan "$musan" --rirs "$rirs" \
    --backends "$backends" --top_n "$top_n" "${processes[@]}" "${system[@]}"
  [ "$profile" != true ] || exit 0
fi

if [ "$stage" -le 4 ] && [ "$stop_stage" -ge 5 ] && ! compgen -G "$data_dir/test/*/*/trials" >/dev/null; then
  log "no test lists in $data_dir/test: stages 5 to $stop_stage have nothing to do; they need --test_roots"
  exit 0
fi

if [ "$stage" -le 5 ] && [ "$stop_stage" -ge 5 ]; then
  log "stage 5: average checkpoints, embed the test utterances, in $exp_dir"
  ham extract --data_dir "$data_dir" --exp_dir "$exp_dir" --device "$device" --num_gpus "$num_gpus" \
    --model "$model" --batch_size "$batch_size" --format "$format" --enrol "$enrol" --backends "$backends" --cohort_utts "$cohort_utts" \
    --train_chunk_s "$train_chunk_s" --durations "$durations"
fi

if [ "$stage" -le 6 ] && [ "$stop_stage" -ge 6 ]; then
  log "stage 6: score the trials, in $exp_dir/scores"
  ham score --data_dir "$data_dir" --exp_dir "$exp_dir" --enrol "$enrol" --backends "$backends" --top_n "$top_n" \
    --durations "$durations" --score_labels "$score_labels"
fi

if [ "$stage" -le 7 ] && [ "$stop_stage" -ge 7 ]; then
  log "stage 7: report in $exp_dir"
  [ "$geometry" = false ] || ask geometry --data_dir "$data_dir" --exp_dir "$exp_dir" --device "$device" ||
    log "no page about the geometry, for the reason above; the report goes on without"
  ham report --exp_dir "$exp_dir"
fi

if [ "$stop_stage" -eq 8 ]; then
  log "stage 8: large-margin fine-tuning of $exp_dir in ${exp_dir}_lm, stages 4 to 7"
  ask finetune --exp_dir "$exp_dir" --seed "$seed" --musan "$musan" --rirs "$rirs"
  requests=${commands[1]}
  exec {requests}>&- # the process that answers them ends
  HAM_COMMAND=$command exec "$top/run.sh" "$@" --stage 4 --stop_stage 7 --config "$said" --loss "" --set "$lm_set" \
    --exp_name "${exp_name}_lm" --init_from "$exp_dir"
fi

if [ "$stage" -eq 9 ]; then
  log "stage 9: export $exp_dir as ONNX, with the front end inside"
  ham export --model "$exp_dir" --out "$exp_dir/model.onnx" --device "$device"
fi
