"""Training with differential privacy: clipped gradients of pairs, noise, and what they cost."""
