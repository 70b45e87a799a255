"""The training loop and what belongs to it: schedules, checkpoints, validation, logs."""
