# Tables of corpus `cnceleb`: the authors' recipe. wespeaker has settings of its own for CN-Celeb, not among conf/.
# shellcheck shell=bash disable=SC2034
all_configs=ecapa_tdnn_cnceleb
default_seeds=1

# table_of CONFIG: what the table holds. How many training utterances there are depends on what is joined (stage 2).
table_of() {
  table_losses="softmax scaled_softmax am_softmax aam_softmax ram_softmax h_softmax ham_softmax eh_am_softmax"
  table_backends="cosine cosine+mean+as_norm hyperbolic hyperbolic+as_norm"
  table_reference=am_softmax
  row_options=(--enrol_list lst) # the owners' joined recording of each speaker, as in the authors' list
}

# row_changes CONFIG LOSS: changes of the configuration (--set) that a row needs.
row_changes() { :; }
