"""Arrays by name as a call takes and gives them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def arguments(inputs: Sequence[str], feeds: Mapping[str, Any]) -> list[Any]:
    """The feeds in the order of the inputs; None for one that is left out, unless at the end."""
    args = [feeds.get(name) for name in inputs]
    while args and args[-1] is None:
        args.pop()
    return args


def arrays(tree: Mapping[str, Any]) -> dict[str, Any]:
    """NumPy's arrays by the same names."""
    return {name: np.array(x) for name, x in tree.items()}
