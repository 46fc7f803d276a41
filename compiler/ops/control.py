"""Control flow that depends on data: a scan along an axis, a loop with a condition, a choice.

What is run again and again, or perhaps, is a block of the node: a graph that reads its inputs
alone. These ops are no names of the language, which writes them as statements.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..array import np
from ..dim import Dim
from ..graph import Type, Value
from ..op import REGION, Build, Config, Op, Signature, TypeMismatch, require_equal

Step = Callable[
    [Build, Sequence[Value], Sequence[Value], Sequence[Value]],
    tuple[Sequence[Value], Sequence[Value]],
]
Names = Sequence[str]


def _axis(rank: int, axis: int) -> int:
    """Where the axis of a scan stands in a tensor that has it; the last where it has fewer."""
    return min(axis, rank - 1)


def element(x: Type, axis: int) -> Type:
    """What a scan along `axis` takes of `x` in one step."""
    if not x.rank:
        raise TypeMismatch(f"a scan goes along an axis, and {x} has none", "axis")
    at = _axis(x.rank, axis)
    return Type(x.dtype, x.shape[:at] + x.shape[at + 1 :], x.labels[:at] + x.labels[at + 1 :])


def _stacked(x: Type, axis: int, size: Dim, label: str | None) -> Type:
    """What a scan makes of `x` in `size` steps."""
    at = _axis(x.rank + 1, axis)
    shape = (*x.shape[:at], size, *x.shape[at:])
    return Type(x.dtype, shape, (*x.labels[:at], label, *x.labels[at:]))


def _alike(a: Type, b: Type, message: str) -> None:
    """Raises unless the types have one dtype and shape; labels may differ."""
    if a.dtype != b.dtype or a.rank != b.rank:
        raise TypeMismatch(message, "carry")
    try:
        for size, other in zip(a.shape, b.shape, strict=True):
            require_equal(size, other, message)
    except TypeMismatch as clash:
        raise TypeMismatch(message, "carry") from clash


def _taken(what: str, given: Sequence[Type], block: Signature) -> None:
    if len(given) != len(block.inputs):
        raise TypeMismatch(f"{what} gives {len(given)} tensors to {len(block.inputs)} places")
    for x, wanted in zip(given, block.inputs, strict=True):
        _alike(x, wanted, f"{what} gives its block {x} for {wanted}")


def _invariant(what: str, before: Sequence[Type], after: Sequence[Type]) -> None:
    """Raises unless what a loop carries has one type at the start and the end of a step."""
    if len(after) < len(before):
        raise TypeMismatch(f"{what} carries {len(before)} tensors, and its step gives {len(after)}")
    for i, (x, y) in enumerate(zip(before, after, strict=False)):
        _alike(y, x, f"{what} carries {x} (number {i}), and a step makes {y} of it")


# ------------------------------------------------------------------------------------------ scan


def _scan_infer(
    *types: Type, carried: int, scanned: int, axis: int, reverse: bool, blocks: Sequence[Signature]
) -> tuple[Type, ...]:
    (step,) = blocks
    carries, xs = types[:carried], types[carried : carried + scanned]
    if not xs or axis < 0:
        raise TypeMismatch("a scan takes at least one tensor, and an axis counted from the front")
    elements = [element(x, axis) for x in xs]
    _taken("a scan", (*carries, *elements, *types[carried + scanned :]), step)
    _invariant("a scan", carries, step.outputs)
    at = _axis(xs[0].rank, axis)
    size, label = xs[0].shape[at], xs[0].labels[at]
    for x in xs[1:]:
        message = f"a scan goes through {xs[0]} and {x} together, which differ in length"
        size = require_equal(x.shape[_axis(x.rank, axis)], size, message)
    return (*carries, *(_stacked(y, axis, size, label) for y in step.outputs[carried:]))


def _scan_eval(
    *arrays: Any, carried: int, scanned: int, axis: int, reverse: bool, blocks: Sequence[Any]
) -> tuple[Any, ...]:
    (step,) = blocks
    carries, captured = arrays[:carried], arrays[carried + scanned :]
    xs = [np.moveaxis(x, _axis(x.ndim, axis), 0) for x in arrays[carried : carried + scanned]]
    steps = range(len(xs[0]))
    collected = []
    for i in reversed(steps) if reverse else steps:
        results = step(*carries, *(x[i] for x in xs), *captured)
        carries = results[:carried]
        collected.append(results[carried:])
    if reverse:
        collected.reverse()
    stacks = (
        np.stack(each, _axis(each[0].ndim + 1, axis)) for each in zip(*collected, strict=True)
    )
    return (*carries, *stacks)


SCAN = Op(
    "scan",
    inputs=("*xs",),
    config={
        "carried": Config("int", doc="how many of the tensors are carried from step to step"),
        "scanned": Config("int", doc="how many, behind those, are gone through"),
        "axis": Config("int", doc="along which they are, and what is collected is stacked"),
        "reverse": Config("bool", False, doc="from the last element to the first"),
    },
    infer=_scan_infer,
    eval=_scan_eval,
    grad=REGION,
    rounding="exact",
    blocks=1,
    doc="Runs a block for each element along an axis. The block takes what is carried, one element"
    " of each tensor that is scanned, and what it reads besides; it gives the new carries, and what"
    " is collected. The results are the last carries, and the stacks. A tensor with fewer axes is"
    " scanned or stacked along its last.",
)


def scan(
    b: Build,
    step: Step,
    carries: Sequence[Value],
    xs: Sequence[Value],
    captured: Sequence[Value] = (),
    *,
    axis: int = 0,
    reverse: bool = False,
    names: Names = (),
) -> tuple[tuple[Value, ...], tuple[Value, ...]]:
    """Builds a scan; `step(b, carries, elements, captured) -> (new carries, collected)` its block.

    All that `step` reads it must get as an argument. `names` are what carries, elements and
    captured tensors are called inside. Returns the last carries, and the stacks.
    """
    n, m = len(carries), len(xs)
    given = (*carries, *xs, *captured)
    inner = [*(x.type for x in carries), *(element(x.type, axis) for x in xs)]
    inner += [x.type for x in captured]

    def make(b: Build, *values: Value) -> Sequence[Value]:
        after, collected = step(b, values[:n], values[n : n + m], values[n + m :])
        return (*after, *collected)

    block = b.block(_named(inner, names), make)
    attrs = {"carried": n, "scanned": m, "axis": axis, "reverse": reverse}
    results = b.node(SCAN, given, attrs, blocks=(block,)).outputs
    return results[:n], results[n:]


def _named(types: Sequence[Type], names: Names) -> dict[str, Type]:
    """The types by names that differ, `names` first."""
    found = [*names, *(f"x{i}" for i in range(len(names), len(types)))]
    return dict(zip(found, types, strict=True))
