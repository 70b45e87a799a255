# parse_options "$@": an option exists because a variable of its name has a default.
#
# The caller lists the variables in `option_names`, with their defaults set. `--a-b VALUE`, `--a_b VALUE` and
# `--a_b=VALUE` set a_b; an option whose default is true or false may stand without a value. Unlike Kaldi's script
# --config is an option like any other, and nothing is sourced. Wrong usage: one line, exit 2.
# shellcheck shell=bash disable=SC2154

parse_options() {
  local name value
  while [ $# -gt 0 ]; do
    case $1 in
      -h | --help)
        help_message
        exit 0
        ;;
      --*) ;;
      *) fail 2 "run.sh: expected --option, found '$1'; a list of several words is quoted: --train_roots \"A B\"" ;;
    esac
    name=${1#--}
    value=
    if [[ $name == *=* ]]; then
      value=${name#*=}
      name=${name%%=*}
      set -- "" "$value" "${@:2}"
    fi
    name=${name//-/_}
    is_option "$name" || fail 2 "run.sh: unknown option --$name; the options are: $(printf -- '--%s ' "${option_names[@]}")"
    if [ $# -lt 2 ] || { [[ -n $1 && $2 == --* ]]; }; then
      [[ ${!name} == true || ${!name} == false ]] || fail 2 "run.sh: --$name needs a value"
      printf -v "$name" true
      shift
      continue
    fi
    if [[ ${!name} == true || ${!name} == false ]] && [[ $2 != true && $2 != false ]]; then
      fail 2 "run.sh: --$name: expected true or false, found '$2'"
    fi
    printf -v "$name" %s "$2"
    shift 2
  done
}

# is_option NAME: whether there is such an option.
is_option() {
  local known
  for known in "${option_names[@]}"; do [ "$known" = "$1" ] && return 0; done
  return 1
}
