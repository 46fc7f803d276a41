"""The codes of diagnostics, as `mlc explain CODE` prints them. Stable: a code never changes meaning."""

from __future__ import annotations

from collections.abc import Mapping

CODES: Mapping[str, str] = {
    "syntax": "The text does not follow the grammar of the language at this place.",
    "shape": "Two sizes that must be equal, or must fit, cannot.",
    "axis": "An axis that the tensor does not have, or that is named twice.",
}
"""Code -> what it means and what to do, in a paragraph."""
