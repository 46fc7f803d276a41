"""The bounds of a text: what is more is refused, so that no file uses up the machine."""

from __future__ import annotations

LENGTH = 1_000_000
"""Characters of a model's files together."""

FILES = 64
"""Files of a model."""
