"""Prepared data to batches: Kaldi directories, the audio store, trials, the order of an epoch."""
