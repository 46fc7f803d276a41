"""Control flow that depends on data: a scan along an axis, a loop with a condition, a choice.

What is run again and again, or perhaps, is a block of the node: a graph that reads its inputs
alone. These ops are no names of the language, which writes them as statements.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..array import np
from ..clone import clone
from ..diagnose import MlcError
from ..dim import Dim
from ..graph import Graph, Type, Value
from ..op import BODY, REGION, Build, Config, Op, Signature, TypeMismatch, require_equal
from .sequence import IOTA

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


def _counts(what: str, tensors: int, **counts: int) -> None:
    """Raises unless so many tensors can be split in these parts."""
    if any(count < 0 for count in counts.values()) or sum(counts.values()) > tensors:
        parts = " and ".join(f"{name} = {count}" for name, count in counts.items())
        raise TypeMismatch(f"{what} of {tensors} tensors cannot have {parts}", "value")


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
    _counts("a scan", len(types), carried=carried, scanned=scanned)
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
    """The types by names that differ: those given, as far as they do."""
    found: dict[str, Type] = {}
    for i, each in enumerate(types):
        name = names[i] if i < len(names) and names[i] else f"x{i}"
        found[f"{name}_{i}" if name in found else name] = each
    return found


# ------------------------------------------------------------------------------------------- if


def _truth(what: str, x: Type) -> None:
    if x.dtype != "bool" or x.rank:
        help = "choose by element: `where(condition, a, b)`"
        raise TypeMismatch(f"{what} takes one bool, and gets {x}", "dtype", help)


def _if_infer(condition: Type, *types: Type, blocks: Sequence[Signature]) -> tuple[Type, ...]:
    _truth("a choice", condition)
    then, orelse = blocks
    for block in blocks:
        _taken("a choice", types, block)
    if len(then.outputs) != len(orelse.outputs):
        raise TypeMismatch("the arms of a choice give different counts of tensors")
    for x, y in zip(then.outputs, orelse.outputs, strict=True):
        _alike(x, y, f"one arm of a choice gives {x}, and the other {y}")
    return then.outputs


IF = Op(
    "if",
    inputs=("*xs",),
    infer=_if_infer,
    eval=lambda condition, *arrays, blocks: blocks[0 if condition else 1](*arrays),
    grad=REGION,
    rounding="exact",
    blocks=2,
    doc="The first tensor is a condition; the first block runs on the others where it is true, else"
    " the second.",
)

# ---------------------------------------------------------------------------------------- while


def _while_infer(
    *types: Type, carried: int, bound: int | None, blocks: Sequence[Signature]
) -> tuple[Type, ...]:
    condition, step = blocks
    if bound is not None and bound < 1:
        raise TypeMismatch(f"a loop of at most {bound} steps does nothing", "value")
    _counts("a loop", len(types), carried=carried)
    for block in blocks:
        _taken("a loop", types, block)
    if len(condition.outputs) != 1 or len(step.outputs) != carried:
        raise TypeMismatch("a loop has one condition, and a step that gives what it carries")
    _truth("the condition of a loop", condition.outputs[0])
    _invariant("a loop", types[:carried], step.outputs)
    return types[:carried]


MOST = 100_000
"""Steps after which a loop without a bound is taken for one that never ends."""


def _while_eval(
    *arrays: Any, carried: int, bound: int | None, blocks: Sequence[Any]
) -> tuple[Any, ...]:
    condition, step = blocks
    carries, captured = arrays[:carried], arrays[carried:]
    count = 0
    while (bound is None or count < bound) and condition(*carries, *captured)[0]:
        if bound is None and count == MOST:
            text = f"a `while` goes on for more than {MOST:,} steps"
            raise MlcError("limit", text, help="give it a bound: `while condition, at most 10:`")
        carries = step(*carries, *captured)
        count += 1
    return carries


def _while_body(
    b: Build, *values: Value, carried: int, bound: int | None, blocks: Sequence[Graph]
) -> tuple[Value, ...]:
    """A scan of `bound` steps, of which those behind the last do nothing."""
    if bound is None:
        text = "a `while` without a bound has no gradient"
        raise MlcError("gradient", text, b.span, help="`while condition, at most 10:`")
    condition, step = blocks

    def once(b: Build, carries: Sequence[Value], _: object, captured: Sequence[Value]) -> Any:
        given = (*carries, *captured)
        (going,) = inline(b, condition, given)
        types = _named([x.type for x in step.inputs], [x.name for x in step.inputs])
        still = b.block(types, lambda b, *values: values[:carried])
        node = b.node(IF, (going, *given), {}, blocks=(clone(step)[0], still))
        return node.outputs, ()

    places = b(IOTA, size=bound)
    names = [x.name for x in step.inputs]
    names[carried:carried] = ["step"]
    return scan(b, once, values[:carried], (places,), values[carried:], names=names)[0]


WHILE = Op(
    "while",
    inputs=("*xs",),
    config={
        "carried": Config("int", doc="how many of the tensors are carried from step to step"),
        "bound": Config("int", None, doc="how many steps there are at most; none: no bound"),
    },
    infer=_while_infer,
    eval=_while_eval,
    body=_while_body,
    grad=BODY,
    rounding="exact",
    blocks=2,
    doc="Runs the second block, which gives the new carries, as long as the first one gives true."
    " With a bound it is a scan of so many steps, and has a gradient.",
)


def inline(b: Build, block: Graph, values: Sequence[Value]) -> tuple[Value, ...]:
    """The nodes of a block once more, on these values; its results."""
    copy, _ = clone(block)
    now: dict[Value, Value] = dict(zip(copy.inputs, values, strict=True))
    for node in copy:
        inputs = [None if x is None else now[x] for x in node.inputs]
        made = b.node(node.op, inputs, node.attrs, exprs=node.exprs, blocks=node.blocks)
        now.update(zip(node.outputs, made.outputs, strict=True))
    return tuple(now[value] for value in copy.outputs.values())
