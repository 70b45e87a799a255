#!/usr/bin/env bash
# The losses and their variants on `mini`, several seeds, with measures of hierarchy: losses.sh [SEED...], by default
# 1 2 3. It shares the experiments of tables.sh; what is trained already is not trained again.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
case ${1:-} in
  -h | --help)
    sed -n '2,/^set/s/^# //p' "${BASH_SOURCE[0]}"
    exit 0
    ;;
esac
seeds=("$@")
[ $# -gt 0 ] || seeds=(1 2 3)
for seed in "${seeds[@]}"; do
  [[ $seed =~ ^[0-9]{1,15}$ ]] || {
    echo "error: losses.sh: usage: losses.sh [SEED...]: expected whole numbers, found '$seed'" >&2
    exit 2
  }
done

# Name, loss and changes of each system. The eight losses at their published settings, then ham_softmax in the other
# geometries and with its centres on one shell, then am_softmax with what is left of ham_softmax when the geometry is
# taken away: its slope against the cosine at 0.5, 39, and its margin of 6 in the logit (30 x 0.2 = 39 x 0.154).
systems=(
  "softmax softmax"
  "scaled_softmax scaled_softmax"
  "am_softmax am_softmax"
  "aam_softmax aam_softmax"
  "ram_softmax ram_softmax"
  "h_softmax h_softmax"
  "ham_softmax ham_softmax"
  "eh_am_softmax eh_am_softmax"
  "ham_softmax_poincare ham_softmax loss.geometry=poincare loss.curvature=1"
  "ham_softmax_lorentz ham_softmax loss.geometry=lorentz loss.curvature=1"
  "ham_softmax_fixed ham_softmax loss.fix_radius=true"
  "am_softmax_matched am_softmax loss.scale=39 loss.margin=0.154"
)
"$here/run.sh" --stop_stage 3
groups=()
folders=()
for system in "${systems[@]}"; do
  read -r name loss changes <<<"$system"
  group=
  for seed in "${seeds[@]}"; do
    experiment=mini_$name
    [ "$seed" = 1 ] || experiment+=_seed$seed
    "$here/run.sh" --stage 4 --loss "$loss" --set "$changes" --exp_name "$experiment" --seed "$seed" --resume \
      --backends all
    group+="${group:+,}$here/exp/$experiment"
    folders+=("$here/exp/$experiment")
  done
  groups+=("$name=$group")
done
# shellcheck source=path.sh
. "$here/path.sh"
tables=$here/exp/losses.md
{
  echo "## EER %: mean over seeds [95 %, bootstrap over speakers] (lowest to highest seed)"
  echo
  python -m ham.bin.summary --data_dir "$here/data" --systems "${groups[@]}" --reference am_softmax \
    --backends cosine hyperbolic
  echo
  echo "## Hierarchy"
  echo
  python -m ham.bin.hierarchy --data_dir "$here/data" --exp_dirs "${folders[@]}"
} >"$tables.part"
mv "$tables.part" "$tables"
cat "$tables"
