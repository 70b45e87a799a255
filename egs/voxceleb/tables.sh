#!/usr/bin/env bash
# Tables of corpus voxceleb: the losses of the published tables, several seeds, the published numbers beside; --help, --dry_run.
exec "$(dirname "${BASH_SOURCE[0]}")/../../local/tables.sh" voxceleb "$@"
