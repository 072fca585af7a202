"""What an exported folder samples with: numpy, and a runtime that computes its graphs. No line of it needs PyTorch.

A copy lies in every exported folder, beside ``sample.py``; that is why its modules import one another by their places.
"""
