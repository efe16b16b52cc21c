"""Softmax and cross-entropy of NumPy arrays, compiled."""
