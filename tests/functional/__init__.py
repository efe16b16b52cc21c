"""Tests of backproof.functional."""
