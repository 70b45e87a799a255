# Tables of corpus `folder`: --train_roots and --test_roots are handed on to run.sh.
# shellcheck shell=bash disable=SC2034
all_configs=small
default_seeds=1

# table_of CONFIG: what the table holds.
table_of() {
  table_losses="softmax scaled_softmax am_softmax aam_softmax ram_softmax h_softmax ham_softmax eh_am_softmax"
  table_backends=all
  table_reference=am_softmax
}

# row_changes CONFIG LOSS: changes of the configuration (--set) that a row needs.
row_changes() { :; }
