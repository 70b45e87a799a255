"""From what a user has (folders, tables, manifests, trial lists) to Kaldi data directories."""
