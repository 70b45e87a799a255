#!/usr/bin/env bash
# The two claims on `mini` (docs/claims.md): trains every row of the tables `claims` and `longer` that is not trained
# yet, then writes the page's results and figures. Call it again after a stop. Options:
#   --losses "ROW ROW" --seeds "1 2"   only these rows of `claims`: one row with one seed takes 5 minutes on two cores
#   --variant large                    on the large preset; unequal: speakers heard unequally often; large_unequal:
#                                      both. The page is then exp/<variant>/claims.md
#   others go to tables.sh, for example --gpus 2 or --dry_run
set -euo pipefail
here=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" && pwd)
top=$(cd "$here/../.." && pwd)
variant='' rows_only=false given=()
while [ $# -gt 0 ]; do
  [[ $1 != --*=* ]] || set -- "${1%%=*}" "${1#*=}" "${@:2}"
  case $1 in
    -h | --help)
      sed -n '2,/^set/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
      exit 0
      ;;
    --variant)
      variant=${2:-nothing}
      [ $# -eq 1 ] || shift
      ;;
    --losses | --dry_run | --dry-run)
      rows_only=true
      given+=("$1")
      ;;
    *) given+=("$1") ;;
  esac
  shift
done
data=$here/data exp=$here/exp page=$top/docs/claims.md
case $variant in
  '') ;;
  large) given+=(--mini_preset large) ;;
  unequal) given+=(--mini_unequal true) ;;
  large_unequal) given+=(--mini_preset large --mini_unequal true) ;;
  *)
    echo "error: claims.sh: --variant: expected large, unequal or large_unequal, found '$variant'" >&2
    exit 2
    ;;
esac
if [ -n "$variant" ]; then
  data=$data/$variant exp=$exp/$variant page=$here/exp/$variant/claims.md
fi
place=(--data_dir "$data" --exp_root "$exp")
"$here/tables.sh" --configs claims --seeds "1 2 3 4 5" "${place[@]}" "${given[@]}"
[ "$rows_only" = false ] || exit 0
"$here/tables.sh" --configs longer --seeds 1 "${place[@]}" "${given[@]}"
# shellcheck source=path.sh
. "$top/path.sh"
[ -z "$variant" ] || printf '# The two claims, %s\n\n## Results\n' "$variant" >"$page"
cd "$top"
PYTHONSAFEPATH=1 exec python -m ham.bin.claims --data_dir "${data#"$top/"}" --exp_roots "${exp#"$top/"}" \
  --tables egs/mini/conf/tables.yaml --comparisons egs/mini/conf/claims.yaml --page "${page#"$top/"}"
