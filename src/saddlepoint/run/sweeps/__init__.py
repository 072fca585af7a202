"""Sweeps: options of a family searched by Optuna, pruned by the doctor, judged on validation rows."""
