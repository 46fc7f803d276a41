"""Where NNX keeps each weight, and in which shape."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from typing import TypeAlias

from ...compiler.diagnose import MlcError
from ...compiler.expr import Expr
from ...compiler.graph import Weight
from ...compiler.passes.layout import Folds
from ...compiler.program import Class, Program, WeightVar, walk
from ...compiler.weight import Entry, Step
from ..source.names import free
from ..source.tree import tree
from . import recurrent
from .chains import Stage, down
from .chains import place as inside
from .reserved import ATTRIBUTES
from .rules import permuted
from .runs import Runs
from .scans import HELD
from .stacks import Stack

Place: TypeAlias = "tuple[str, tuple[Step, ...]]"


def entries(program: Program, folds: Folds, runs: Runs) -> list[Entry]:
    """The weight map: an entry for each tensor of the state, those of a stack in one."""
    held = lists(program)

    def made(weight: Weight) -> tuple[Entry, tuple[int, ...]]:
        keys, places = placed(program, weight, runs, held)
        return _entry(program, weight, folds, keys), places

    return joined(map(made, program.weights))


Lists: TypeAlias = "Set[tuple[Class, str]]"
"""What classes hold stacks under, and lists with stacks in them."""


def lists(program: Program) -> Lists:
    """All of a program."""
    walked = ((cls, s) for cls in program.classes for s in walk(cls.body))
    return {(cls, s.member.name) for cls, s in walked if isinstance(s, Stack)}


def placed(
    program: Program,
    weight: Weight,
    runs: Runs,
    held: Lists,
    stage: Stage = inside,
    under: Sequence[str] = (HELD,),
) -> tuple[list[str], tuple[int, ...]]:
    """The keys of what holds a weight, and its places in the stacks on the way; `under` are those
    of what a stack holds."""
    *holders, _ = program.weights[weight]
    keys: list[str] = []
    places: list[int] = []
    scopes = runs.holders(weight)
    steps = zip(down(program, holders, stage), holders, scopes, strict=False)
    for (cls, own), (name, index), scope in steps:
        if index is None or (cls, name) not in held:
            keys += own
            continue
        number, place = runs.place(cls, scope.block, name, index)
        keys += [name, *([] if number is None else [str(number)]), *(under if place else ())]
        places += place
    return keys, tuple(places)


def joined(entries: Iterable[tuple[Entry, tuple[int, ...]]]) -> list[Entry]:
    """The entries of a weight map, those of one stack as one; each comes with its places there."""
    found: dict[str, list[tuple[tuple[int, ...], Entry]]] = {}
    for entry, places in entries:
        found.setdefault(entry.target, []).append((places, entry))
    result = []
    for target, each in found.items():
        each.sort(key=lambda pair: pair[0])
        (last, entry) = each[-1]
        if last:
            sources = tuple(source for _, one in each for source in one.sources)
            counts = tuple(place + 1 for place in last)
            entry = Entry(target, sources, (*entry.steps, Step("stack", counts)))
        result.append(entry)
    return result


def _entry(program: Program, weight: Weight, folds: Folds, keys: Sequence[str]) -> Entry:
    """The state path (`blocks.0.conv1.kernel`), and how the canonical tensor becomes it.

    `folds` are the layers whose features are turned to the order of images.
    """
    part, _ = program.weights[weight][-1]
    pieces = [key if key.isdigit() else free(key, ATTRIBUTES) for key in keys]
    if weight.layer is None or part != weight.part:
        stored = (Step("permute", weight.order),) if weight.order else ()
        return Entry(".".join([*pieces, free(part, ATTRIBUTES)]), (weight.path,), stored)
    if weight.layer.op.name in recurrent.NAMES:
        name, steps = recurrent.place(program, weight)
    else:
        name, steps = place(weight)
    steps = (*folds.get(weight, ()), *steps)
    return Entry(".".join([*pieces, name]), (weight.path,), steps)


def place(weight: Weight) -> Place:
    """The name of a layer's variable, and the steps to it."""
    assert weight.layer is not None
    return _KINDS[weight.layer.op.name](weight)


def _linear(weight: Weight) -> Place:
    return ("kernel", (Step("permute", (1, 0)),)) if weight.part == "weight" else (weight.part, ())


def _conv(weight: Weight) -> Place:
    """(out, in, *kernel) as (*kernel, in, out)."""
    if weight.part != "weight":
        return weight.part, ()
    return "kernel", (Step("permute", (*range(2, weight.type.rank), 1, 0)),)


def _conv_transpose(weight: Weight) -> Place:
    """(in, out / groups, *kernel) as (*kernel, out, in): NNX turns it round.

    With groups it is an `nnx.Conv` of the stretched input: (*kernel, in / groups, out), flipped.
    """
    assert weight.layer is not None
    groups: int = weight.layer.attrs["groups"]
    if groups == 1 and "groups" in weight.layer.exprs:
        what = "JAX source for conv_transpose with groups that depend on hyper-parameters and are 1"
        raise MlcError("unsupported", what, help="write groups as a literal")
    if weight.part != "weight" or groups == 1:
        return _conv(weight)
    rank = weight.type.rank
    inputs, outputs, *kernel = (size for size in weight.type.shape if isinstance(size, int))
    places = range(3, rank + 1)
    split = (groups, inputs // groups, outputs, *kernel)
    return "kernel", (
        Step("flip", tuple(range(2, rank))),
        Step("reshape", ((inputs, outputs, *kernel), split)),
        Step("permute", (*places, 1, 0, 2)),
        Step(
            "reshape",
            (
                (*kernel, inputs // groups, groups, outputs),
                (*kernel, inputs // groups, groups * outputs),
            ),
        ),
    )


def _named(weight: Weight) -> Place:
    assert weight.layer is not None
    return VARIABLES[weight.layer.op.name].get(weight.part, weight.part), ()


def _prelu(weight: Weight) -> Place:
    assert weight.layer is not None
    if weight.layer.attrs["per_channel"]:
        return "weight", ()
    return "negative_slope", (Step("reshape", ((1,), ())),)


def _attention(weight: Weight) -> Place:
    """NNX projects to (heads, D // heads) at once, and back from them."""
    assert weight.layer is not None
    role, kind = weight.part.split(".")
    name = "out" if role == "output" else role
    heads: int = weight.layer.attrs["heads"]
    sizes = [size for size in weight.type.shape if isinstance(size, int)]
    split = (heads, (sizes[1] if role == "output" and kind == "weight" else sizes[0]) // heads)
    if kind == "bias":
        steps = () if role == "output" else (Step("reshape", ((sizes[0],), split)),)
        return f"{name}.bias", steps
    after = (*split, sizes[0]) if role == "output" else (sizes[1], *split)
    turned = (sizes[1], sizes[0])
    return f"{name}.kernel", (Step("permute", (1, 0)), Step("reshape", (turned, after)))


def _turned(held: Expr, var: WeightVar) -> Expr:
    del var
    return tree("{x}.T", x=held)


def _moved(held: Expr, var: WeightVar) -> Expr:
    """(*kernel, in, out) as (out, in, *kernel)."""
    rank = var.type.rank
    return permuted(held, (rank - 1, rank - 2, *range(rank - 2)))


VARIABLES: Mapping[str, Mapping[str, str]] = {
    **{op: {"weight": "kernel"} for op in ("linear", "conv", "conv_transpose")},
    **{
        op: {"weight": "scale", "running_mean": "mean", "running_var": "var"}
        for op in ("batch_norm", "layer_norm", "rms_norm", "group_norm", "instance_norm")
    },
    "embedding": {"weight": "embedding"},
}  # fmt: skip
"""What NNX calls the parts of a layer, where it is not what the language does."""

VIEWS: Mapping[str, Callable[[Expr, WeightVar], Expr]] = {
    "linear": _turned, "conv": _moved, "conv_transpose": _moved,
}  # fmt: skip
"""A layer's weight as the source has it."""

_KINDS: Mapping[str, Callable[[Weight], Place]] = {
    "linear": _linear, "conv": _conv, "conv_transpose": _conv_transpose, "embedding": _named,
    "prelu": _prelu, "attention": _attention,
    **dict.fromkeys(
        ("batch_norm", "layer_norm", "rms_norm", "group_norm", "instance_norm"), _named
    ),
}  # fmt: skip
"""By the op of the layer."""
