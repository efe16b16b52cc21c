"""Numerical differentiation with error bars, and the comparison of a gradient with it."""

from backproof.gradcheck.findings import Finding as Finding
from backproof.gradcheck.findings import Report as Report
from backproof.gradcheck.numerics import derivative as derivative
from backproof.gradcheck.sampled import Agreement as Agreement
from backproof.gradcheck.sampled import compare_gradient as compare_gradient

__all__ = ["Agreement", "Finding", "Report", "compare_gradient", "derivative"]
