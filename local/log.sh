# Messages of the recipe, on standard error with the time of day.
# shellcheck shell=bash

log() { echo "$(date +%H:%M:%S) $*" >&2; }

# fail STATUS MESSAGE: one line and out; 2 means that the request was wrong.
fail() {
  echo "error: $2" >&2
  exit "$1"
}
