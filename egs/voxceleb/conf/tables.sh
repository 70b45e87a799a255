# Tables of corpus `voxceleb`, each a configuration: the authors' recipe and wespeaker's.
# shellcheck shell=bash disable=SC2034,SC2154
all_configs="ecapa_tdnn ecapa_tdnn_vox1 ecapa_c512_wespeaker ecapa_c1024_wespeaker resnet34"
default_seeds=1

# table_of CONFIG: what the table holds. The sizes are published; they serve the estimate while nothing is prepared.
table_of() {
  table_losses="softmax scaled_softmax am_softmax aam_softmax ram_softmax h_softmax ham_softmax eh_am_softmax"
  table_backends="cosine cosine+crops hyperbolic"
  table_reference=am_softmax
  num_utts=1092009 num_speakers=5994 num_test_utts=145160 num_trials=1170226
  case $1 in
    ecapa_tdnn_vox1)
      row_options=(--train_set vox1_dev --trial_lists vox1_o_clean
        --archives "$data_base/archives" --corpora_dir "$data_base/corpora")
      table_data_dir=${data_base}_vox1
      num_utts=148642 num_speakers=1211 num_test_utts=4708 num_trials=37611
      ;;
    *wespeaker | resnet34)
      table_losses="aam_softmax ham_softmax"
      table_backends="cosine+mean cosine+mean+as_norm cosine+mean+as_norm+qmf_wespeaker hyperbolic hyperbolic+as_norm"
      table_reference=aam_softmax
      row_options=(--train_chunk_s 2.015) # its training speech is embedded from random chunks of 200 frames
      ;;
  esac
}

# row_changes CONFIG LOSS: a margin schedule has nothing to schedule in a loss without a margin.
row_changes() {
  case $1,$2 in
    *wespeaker,softmax | *wespeaker,scaled_softmax | *wespeaker,h_softmax | resnet34,softmax | resnet34,scaled_softmax | resnet34,h_softmax)
      echo margin.name=constant
      ;;
  esac
}
