"""From a trained system to numbers: embeddings, scores, metrics, intervals, pictures."""
