"""NumPy, imported when it is first used: compiling a model needs none of it."""

from __future__ import annotations

from typing import Any


class _Lazy:
    """Stands for a module until one of its attributes is asked for."""

    def __getattr__(self, name: str) -> Any:
        import numpy

        value = getattr(numpy, name)
        setattr(self, name, value)
        return value


np: Any = _Lazy()
"""The numpy module; `from ..array import np` lets the ops' `eval` stay one-liners."""
