"""The table of all operators. Each family has a file; nothing registers itself."""

from __future__ import annotations

from collections.abc import Mapping

from ..op import Op
from .constant import CONSTANT
from .reduce import REDUCE

OPS: Mapping[str, Op] = {
    op.name: op
    for op in (
        CONSTANT,
        *REDUCE,
    )
}
"""Every operator by its name in the language."""
