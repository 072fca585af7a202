"""What every room stands on: errors, types, files, configurations, words made harmless. Knows nothing of GANs."""
