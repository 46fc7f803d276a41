"""The table of all operators. Each family has a file; nothing registers itself."""

from __future__ import annotations

from collections.abc import Mapping

from ..op import Op
from .compare import COMPARE
from .constant import CONSTANT
from .elementwise import ELEMENTWISE
from .function import FUNCTION
from .reduce import REDUCE

OPS: Mapping[str, Op] = {
    op.name: op
    for op in (
        CONSTANT,
        *ELEMENTWISE,
        *COMPARE,
        *FUNCTION,
        *REDUCE,
    )
}
"""Every operator by its name in the language."""
