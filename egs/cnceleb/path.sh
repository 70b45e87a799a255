# The recipe's environment, for those who work from this folder: . ./path.sh
# shellcheck shell=bash source=path.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../path.sh"
