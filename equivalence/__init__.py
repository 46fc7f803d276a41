"""Equivalence: runs what was emitted, and holds it to a reference in float64."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .report import Report
    from .target import Emitted
    from .verification import verify

__all__ = ["Emitted", "Report", "verify"]


def __getattr__(name: str) -> Any:
    """What `__all__` names, imported when asked for: engine processes come through here too."""
    if name == "Report":
        from .report import Report

        return Report
    if name == "Emitted":
        from .target import Emitted

        return Emitted
    if name == "verify":
        from .verification import verify

        return verify
    raise AttributeError(name)
