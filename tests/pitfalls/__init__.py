"""Faults that systems of this kind have had, planted here, and the tests that turn red."""
