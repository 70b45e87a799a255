# Tables of corpus `mini`.
# shellcheck shell=bash disable=SC2034
all_configs=mini
default_seeds="1 2 3"

# table_of CONFIG: what the table holds.
table_of() {
  table_losses="softmax scaled_softmax am_softmax aam_softmax ram_softmax h_softmax ham_softmax eh_am_softmax"
  table_backends=all
  table_reference=am_softmax
  num_utts=2496 num_speakers=208 num_test_utts=576 num_trials=20000
}

# row_changes CONFIG LOSS: changes of the configuration (--set) that a row needs.
row_changes() { :; }
