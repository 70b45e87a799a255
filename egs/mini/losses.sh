#!/usr/bin/env bash
# The losses and their variants on `mini`, several seeds, with measures of hierarchy: losses.sh [SEED...], by default
# 1 2 3. It is the table `losses` of conf/tables.yaml; what is trained already is not trained again.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
case ${1:-} in
  -h | --help)
    sed -n '2,/^set/s/^# //p' "${BASH_SOURCE[0]}"
    exit 0
    ;;
esac
exec "$here/tables.sh" --configs losses --seeds "$*"
