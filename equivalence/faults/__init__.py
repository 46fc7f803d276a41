"""Kinds of faults that an emitted file may have, as data, and which of them a run would have seen.

Each is planted in the reference itself: no framework runs. The tests plant faults of the same names
in emitted files, and run those.
"""

from __future__ import annotations

from collections.abc import Mapping

from .fault import Fault
from .gradients import GRADIENTS
from .norms import NORMS
from .operators import OPERATORS
from .sensitivity import look
from .weights import WEIGHTS

FAULTS: Mapping[str, Fault] = {
    fault.name: fault for fault in (*OPERATORS, *NORMS, *WEIGHTS, *GRADIENTS)
}
"""Every kind by its name."""

__all__ = ["FAULTS", "Fault", "look"]
