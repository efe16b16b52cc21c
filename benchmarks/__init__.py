"""Measurements of backproof against other libraries; run each as a module from the root of the repository."""
