"""From prepared data to batches: Kaldi data directories, trials, the audio store, the order of an epoch."""
