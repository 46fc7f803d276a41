"""Definitions of a file: what their headers, `in` and `out` lines say, checked."""

from __future__ import annotations

from collections.abc import Mapping

from ...compiler.diagnose import MlcError, Note, Span
from ...compiler.expr import Expr
from ...compiler.expr import name as reference
from ...compiler.graph import Definition
from ...compiler.op import Op
from . import syntax as s
from .context import Block
from .declare import bindings, extent
from .plan import make_plan
from .symbolic import express


def block(
    syntax: s.DefinitionSyntax,
    known: Mapping[str, object],
    ops: Mapping[str, Op],
    home: Mapping[str, Block],
) -> Block:
    """A definition ready to be called, in which names of blocks are those of `home`."""
    inputs = tuple(line for line in syntax.body if isinstance(line, s.In))
    outputs = tuple(line for line in syntax.body if isinstance(line, s.Out))
    _check_names(syntax, inputs, outputs)
    if not outputs:
        raise MlcError("out", f"{syntax.name} has no `out` line", syntax.head,
                       help="say what it returns: `out y: f32[...]`")  # fmt: skip
    params = {p.name: _default(p) for p in syntax.parameters}
    definition = Definition(
        syntax.name, syntax.kind, params, bindings(inputs, list(params)),
        tuple(line.name for line in inputs), tuple(line.name for line in outputs), syntax.doc,
        syntax.head, _shapes(inputs, outputs),
    )  # fmt: skip
    return Block(syntax, definition, make_plan(syntax, known, ops), inputs, outputs, home)


def _shapes(inputs: tuple[s.In, ...], outputs: tuple[s.Out, ...]) -> dict[str, tuple[Expr, ...]]:
    """The sizes that `in` and `out` lines declare, where all of a line's are static expressions."""
    given = {line.name: line.type for line in inputs}
    found = {}
    lines: tuple[s.In | s.Out, ...] = (*inputs, *outputs)
    for line in lines:
        declared = given.get(line.type.like, line.type) if line.type.like else line.type
        sizes = [express(extent(axis), reference) for axis in declared.axes]
        if declared.like is None and all(sizes):
            found[line.name] = tuple(size for size in sizes if size is not None)
    return found


def _default(parameter: s.Parameter) -> Expr | None:
    if parameter.default is None:
        return None
    return express(parameter.default, reference)


def _check_names(
    syntax: s.DefinitionSyntax, inputs: tuple[s.In, ...], outputs: tuple[s.Out, ...]
) -> None:
    seen: dict[str, Span] = {}
    declared = [*((p.name, p.span) for p in syntax.parameters), *((x.name, x.span) for x in inputs)]
    for name, span in declared:
        if name in seen:
            note = Note("the other one", seen[name])
            raise MlcError("duplicate", f"{name} is declared twice", span, notes=[note])
        seen[name] = span
    returned: set[str] = set()
    for line in outputs:
        if line.name in returned:
            raise MlcError("duplicate", f"{line.name} is returned twice", line.span)
        returned.add(line.name)
    top = {id(line) for line in (*inputs, *outputs)}
    for statement in syntax.body:
        for node in statement.walk():
            if isinstance(node, s.Region):
                top |= {id(line) for line in node.body}
            if isinstance(node, (s.In, s.Out)) and id(node) not in top:
                raise MlcError("syntax", "`in` and `out` lines stand at the top of a body",
                               node.span)  # fmt: skip
