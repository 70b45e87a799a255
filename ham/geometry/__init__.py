"""Hyperbolic geometry as pure functions on tensors; each function takes the curvature as a keyword."""
