"""Equivalence: runs what was emitted, and holds it to a reference in float64."""
