"""Recordings on disk to samples: headers checked, contents decoded."""

SAMPLE_RATE = 16000
"""Hz; every corpus and every published front end here uses it."""
