"""Warnings of values, hyper-parameters and blocks that a file names and never reads."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ...compiler.diagnose import MlcError, Span
from . import syntax as s
from .declare import bare


def unused(file: s.File) -> list[MlcError]:
    """One warning for each name that is never read; a leading underscore says that it is meant."""
    reads = [_read(definition) for definition in file.definitions]
    named = set().union(*reads)
    return [
        MlcError("unused", f"{used.alias} of {line.place.value} is never used", used.span)
        for line in file.uses
        for used in line.names
        if used.alias not in named and not used.alias.startswith("_")
    ] + [
        MlcError("unused", f"{what} {name} is never used", span)
        for definition, read in zip(file.definitions, reads, strict=True)
        for what, name, span in _made(definition)
        if name not in read and not name.startswith("_")
        if what != "input" or not _sized(definition, name)
    ]


def _sized(definition: s.DefinitionSyntax, name: str) -> bool:
    """Whether the body reads a size that no other input gives."""
    sizes: dict[str, set[str]] = {}
    read: set[str] = set()
    for statement in definition.body:
        if isinstance(statement, s.In):
            axes = [node for node in statement.walk() if isinstance(node, s.Axis)]
            sizes[statement.name] = {found for axis in axes if (found := axis.label or bare(axis))}
        elif not isinstance(statement, s.Out):
            read |= {node.id for node in statement.walk() if isinstance(node, s.Name)}
    others = {size for other, own in sizes.items() if other != name for size in own}
    return bool((sizes.get(name, set()) - others) & read)


def _made(definition: s.DefinitionSyntax) -> Iterator[tuple[str, str, Span]]:
    for parameter in definition.parameters:
        yield "hyper-parameter", parameter.name, parameter.span
    seen: set[str] = set()
    for statement in definition.body:
        for node in statement.walk():
            names: tuple[str, ...] = ()
            match node:
                case s.In(name):
                    yield "input", name, node.span
                case s.Param(name):
                    yield "state" if node.state else "param", name, node.span
                case s.Noise(name):
                    yield "noise", name, node.span
                case s.Assign(names):
                    pass
                case s.Loop(names) | s.Scan(names):
                    pass
            for name in names:
                if name not in seen:
                    seen.add(name)
                    yield "value", name, node.span


def _read(definition: s.DefinitionSyntax) -> set[str]:
    names: set[str] = set()
    for node in definition.walk():
        match node:
            case s.Name(id):
                names.add(id)
            case s.Out(name):
                names.add(name)
            case s.TypeSyntax(like=str(name)):
                names.add(name)
            case s.Require(message=message):
                names |= set(re.findall(r"\{(\w+)\}", message))
    return names
