"""From recordings to batches: Kaldi directories, audio, the store, augmentation."""
