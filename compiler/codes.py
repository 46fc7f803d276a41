"""The codes of diagnostics, as `mlc explain CODE` prints them. Stable: a code never changes meaning."""

from __future__ import annotations

from collections.abc import Mapping

CODES: Mapping[str, str] = {
    "axis": "An axis that the tensor does not have, or that is named twice.",
    "feed": (
        "An array given to a model does not fit it: a name, shape, kind of number or size that the"
        " model does not take. The message says what was wanted and what was given."
    ),
    "gradient": (
        "A gradient was asked for that passes through an operator which has none. Differentiate"
        " with respect to something else, or write the model without that operator."
    ),
    "shape": "Two sizes that must be equal, or must fit, cannot.",
    "syntax": "The text does not follow the grammar of the language at this place.",
}
"""Code -> what it means and what to do, in a paragraph."""
