"""What a lowered program multiplies: the dots and convolutions of StableHLO as text."""

from __future__ import annotations

import re
from collections import Counter

from .protocol import Products

PRODUCT = re.compile(r"\bstablehlo\.(dot_general|dot|convolution)\b")
OPERANDS = re.compile(r" : \(tensor<(?:\w+x)*(\w+)>, tensor<(?:\w+x)*(\w+)>\) -> ")


def products(program: str) -> Products:
    """How many there are of each op and the element types of its operands: ("dot_general", "bf16",
    "bf16"). ValueError where one is written in a way that this does not read."""
    found: Counter[tuple[str, str, str]] = Counter()
    for line in program.splitlines():
        op = PRODUCT.search(line)
        if op is None:
            continue
        operands = OPERANDS.search(line)
        if operands is None:
            raise ValueError(f"cannot read the types of {line.strip()[:200]}")
        found[op[1], operands[1], operands[2]] += 1
    return found
