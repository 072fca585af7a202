"""The engine owns time: gradients, steps, averages, randomness, statistics, state. It knows no concrete family."""
