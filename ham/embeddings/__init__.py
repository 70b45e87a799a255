"""Recordings to embeddings, and embeddings on disk."""
