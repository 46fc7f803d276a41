"""Names of layers that Keras would give to operations, too: all names in a model must differ."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ...compiler.program import Apply, Call, Chain, Class, Member, Program, Statement, walk
from .layers import LAYERS
from .members import stages

OPERATORS = frozenset(
    {"add", "subtract", "multiply", "matmul", "divide", "truedivide", "floordivide", "mod"}
    | {"power", "negative", "absolute", "getitem", "logicaland", "logicalor", "logicalnot"}
    | {"less", "lessequal", "greater", "greaterequal", "equal", "notequal"}
)
"""What Keras calls the operators of Python."""


@dataclass(frozen=True)
class Respelled:
    """What members of the model and its inputs are called where their own names are taken."""

    members: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)


def respelled(program: Program, functions: Iterable[str], layers: Collection[str]) -> Respelled:
    """The names to avoid in the text of these functions; `layers` are the file's own classes.

    Keras names what has no name by its kind, and by `kind_1` and so on where it occurs again.
    """
    automatic = OPERATORS.union(*(_automatic(text, layers) for text in functions))
    model = program.model
    inputs = {name: f"{name}_" for name in model.inputs if _plain(name) in automatic}
    given = {inputs.get(name, name) for name in model.inputs}
    wrong = {root for root, name in _labels(program.model.body, ())
             if _plain(name) in automatic or name in given}  # fmt: skip
    wrong |= {p.name for p in model.parameters if _plain(p.name) in automatic or p.name in given}
    taken = {root for root, _ in _labels(model.body, ())} | {p.name for p in model.parameters}
    taken |= given
    members: dict[str, str] = {}
    for name in sorted(wrong):
        fresh = f"{name}_"
        while fresh in taken:
            fresh += "_"
        taken.add(fresh)
        members[name] = fresh
    return Respelled(members, inputs)


def _plain(name: str) -> str:
    """What is left of a name without its number, however its words are parted."""
    return re.sub(r"_\d+$", "", name).replace("_", "").lower()


def _automatic(text: str, layers: Collection[str]) -> set[str]:
    """The kinds of what stands in a text without a name."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Call) or any(k.arg == "name" for k in node.keywords):
            continue
        match node.func:
            case ast.Attribute(value=ast.Attribute(attr="ops" | "layers"), attr=kind):
                found.add(_plain(kind))
            case ast.Name(id=kind) if kind in layers:
                found.add(_plain(kind))
    return found


def _labels(body: Sequence[Statement], path: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """The members of a body with their names: (the model's member, the whole name)."""
    names = stages(body)
    for statement in walk(list(body)):
        match statement:
            case Chain(member=member, body=inner):
                yield from _labels(inner, (*path, member.name))
            case Call(member=member, cls=Class(body=inner, parameters=own)):
                yield _label((*path, member.name))
                yield from (_label((*path, member.name, p.name)) for p in own)
                yield from _labels(inner, (*path, member.name))
            case Apply(member=Member() as member, op=op) if op.name in LAYERS:
                yield _label((*path, names.get(member.name, member.name)))


def _label(path: tuple[str, ...]) -> tuple[str, str]:
    return path[0], "_".join(path)


__all__ = ["Respelled", "respelled"]
