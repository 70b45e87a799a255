"""Speaker verification with hyperbolic softmax losses: geometry, losses, backbones, training, scoring."""

__version__ = "0.1.0"
