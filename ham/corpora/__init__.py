"""Corpora that are fetched: archives downloaded, checked, unpacked, converted."""
