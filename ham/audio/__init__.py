"""From audio files to samples: each container is checked for damage, and decoded."""

SAMPLE_RATE = 16000
"""Hz; every corpus and every published front end here uses it."""
