"""Measurements of backproof against other libraries: `python -m benchmarks` from the root of the repository."""
