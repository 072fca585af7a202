"""Experiment trackers: what a run writes (log, pictures, figures), sent to TensorBoard, Weights & Biases or MLflow."""
