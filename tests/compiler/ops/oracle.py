"""What every op means, said again in torch: name -> float64 expression of its tensors.

Each takes the op's inputs and weights in order (None where one is absent; lists are spread) and its
attributes by keyword, complete. One table a file, so that each stays short.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tests.compiler.ops.oracle_activation import ACTIVATION
from tests.compiler.ops.oracle_attention import ATTENTION
from tests.compiler.ops.oracle_elementwise import ELEMENTWISE
from tests.compiler.ops.oracle_image import IMAGE
from tests.compiler.ops.oracle_place import PLACE
from tests.compiler.ops.oracle_product import PRODUCT
from tests.compiler.ops.oracle_recurrent import RECURRENT
from tests.compiler.ops.oracle_reduce import REDUCE
from tests.compiler.ops.oracle_spatial import NORM, SPATIAL
from tests.compiler.ops.oracle_tensor import TENSOR

ORACLE: Mapping[str, Callable[..., Any]] = {
    **ELEMENTWISE,
    **REDUCE,
    **ACTIVATION,
    **SPATIAL,
    **IMAGE,
    **NORM,
    **ATTENTION,
    **TENSOR,
    **PLACE,
    **PRODUCT,
    **RECURRENT,
}
