"""From embeddings to numbers: back-ends, scores, metrics, intervals."""
