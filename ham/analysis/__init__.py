"""What embeddings show beyond error rates: hierarchy, trees, radii, pictures."""
