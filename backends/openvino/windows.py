"""Strides, dilations and padding of a convolution: as arguments of a method, and in its lines.

Each is one number, one for each axis, or, of padding, a pair for each axis; a method takes the
widest form that one of its uses has.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

from ...compiler import expr
from ...compiler.expr import Expr
from ...compiler.ops.window import Window
from ...compiler.program import Apply
from ..source.parts import Open
from ..source.tree import number, tree

WINDOW = ("kernel", "stride", "dilation")
KEYS = ("stride", "pad", "dilation", "output_pad")

ONE, EACH, PAIRS = range(3)

TYPES = ("int", "tuple[int, ...]", "tuple[tuple[int, int], ...]")
"""The annotation of each form."""


def value(apply: Apply, key: str) -> Any:
    """The numbers in their shortest form; None where an expression tells them."""
    found = number(apply.attrs[key])
    if found is None:
        return None
    if key != "pad":
        return found[0] if isinstance(found, tuple) and len(set(found)) == 1 else found
    pads = ((0, 0),) if same(apply) else _pads(apply, found)
    if any(low != high for low, high in pads):
        return pads
    lows = tuple(low for low, _ in pads)
    return lows[0] if len(set(lows)) == 1 else lows


def same(apply: Apply) -> bool:
    """Whether the padding is "same" for a kernel that the source does not know as a number."""
    if number(apply.attrs["pad"]) != "same":
        return False
    unknown = [name for name in WINDOW if number(apply.attrs[name]) is None]
    if unknown and apply.op.name != "conv":
        raise Open(apply, unknown[0])
    return bool(unknown)


def _pads(apply: Apply, pad: Any) -> tuple[tuple[Any, Any], ...]:
    x = next(v for v in apply.inputs if v is not None)
    if pad != "same":
        return Window.of(x.type.shape[2:], 1, pad=pad).pads
    kernel, stride, dilation = (number(apply.attrs[name]) for name in WINDOW)
    return Window.of(x.type.shape[2:], kernel, stride, pad, dilation).pads


def form(apply: Apply, key: str, hypers: Mapping[str, Any]) -> int:
    """The form of an argument; `hypers` are samples of the hyper-parameters in it."""
    found = value(apply, key)
    given = apply.attrs[key]
    if found is None and isinstance(given, (ast.Tuple, ast.List)):
        return PAIRS if any(isinstance(item, ast.Tuple) for item in given.elts) else EACH
    if found is None and expr.names(given) <= hypers.keys():
        found = expr.evaluate(given, hypers)
    if not isinstance(found, (tuple, list)):
        return ONE
    return PAIRS if any(isinstance(item, (tuple, list)) for item in found) else EACH


def argument(given: Expr, own: int, wanted: int, count: int) -> Expr:
    """An argument of form `own` in the form `wanted`, for so many axes."""
    if own == wanted == ONE:
        return given
    if isinstance(given, (ast.Tuple, ast.List)):
        items = given.elts
    elif own == ONE:
        items = [given] * count
    elif own == wanted:
        return given
    else:
        return tree("tuple((n, n) for n in {given})", given=given)
    if wanted == PAIRS:
        items = [n if isinstance(n, ast.Tuple) else ast.Tuple([n, n], ast.Load()) for n in items]
    return ast.Tuple(list(items), ast.Load())


def each(given: str, count: int) -> str:
    """A number for each axis as a list: `[stride] * 2`."""
    found = ast.literal_eval(given) if given[0] in "(0123456789" else None
    if isinstance(found, tuple):
        return str(list(found))
    if isinstance(found, int):
        return str([found] * count)
    return f"[{given}] * {count}" if count > 1 else f"[{given}]"


def listed(given: str, kind: int, count: int) -> str:
    """An argument, or a literal, as a list for the axes."""
    return given if given.isidentifier() and kind != ONE else each(given, count)


def ends(given: str, kind: int, count: int) -> tuple[str, ...]:
    """Padding as two lists, at both ends of each axis; or as one text that gives both."""
    if kind == PAIRS and given.isidentifier():
        return (f"*zip(*{given}, strict=True)",)
    if kind == PAIRS:
        pairs = ast.literal_eval(given)
        return str([low for low, _ in pairs]), str([high for _, high in pairs])
    return (listed(given, kind, count),) * 2
