"""What each cause of a wrong gradient means: a page of mathematics, wrong and right code, and a case from real life."""

from backproof.gradcheck.explain.explain import blocks as blocks
from backproof.gradcheck.explain.explain import explain as explain
from backproof.gradcheck.explain.explain import markdown as markdown

__all__ = ["blocks", "explain", "markdown"]
