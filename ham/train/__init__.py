"""The training loop and what belongs to it: schedules, steps, validation, logs."""
