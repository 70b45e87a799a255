#!/usr/bin/env bash
# Tables of corpus cnceleb: the losses of the published tables, several seeds, the published numbers beside; --help, --dry_run.
set -euo pipefail
top=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../.." && pwd)
# shellcheck source=path.sh
. "$top/path.sh"
# shellcheck source=local/cpu.sh
. "$top/local/cpu.sh"
PYTHONSAFEPATH=1 exec python -m ham.bin.sweep cnceleb "$@"
