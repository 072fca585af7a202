"""Small mistakes planted in the package, to see whether the tests notice: ``python benchmarks/mutation.py``."""
