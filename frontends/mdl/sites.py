"""Places of a definition: each application, call, loop and `if` gets its number, once."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from . import syntax as s


def number(definition: s.DefinitionSyntax) -> None:
    """Sets `site` throughout the body, in the order in which things happen."""
    counter = itertools.count(1)
    for node in _ordered(definition.body):
        node.site = next(counter)


def _ordered(nodes: tuple[s.Syntax, ...]) -> Iterator[s.Syntax]:
    for node in nodes:
        match node:
            case s.If(test, body, other):
                yield from (*_ordered((test,)), node, *_ordered(body), *_ordered(other))
            case s.Loop(_, table, body):
                yield from (*_ordered((table,)), node, *_ordered(body))
            case s.Scan(_, tables, _, body):
                yield from (*_ordered(tables), node, *_ordered(body))
            case s.While(condition, bound, body):
                tests = (condition,) if bound is None else (condition, bound)
                yield from (*_ordered(tests), node, *_ordered(body))
            case s.Conditional(body, test, other):
                yield from (*_ordered((test,)), node, *_ordered((body, other)))
            case _:
                yield from (*_ordered(tuple(node.children())), node)


def assigned(body: tuple[s.Syntax, ...]) -> set[str]:
    """The names that the statements of a body assign, at any depth."""
    names: set[str] = set()
    for statement in body:
        match statement:
            case s.Assign(targets):
                names |= set(targets)
            case s.Blocks(targets):
                names |= set(targets)
            case s.Grow(name) | s.Param(name) | s.Noise(name):
                names.add(name)
            case s.If(_, yes, no):
                names |= assigned(yes) | assigned(no)
            case s.Loop(targets, _, inner):
                names |= {*targets, *assigned(inner)}
            case s.Scan(targets, _, _, inner):
                names |= {*targets, *assigned(inner)}
            case s.While(_, _, inner):
                names |= assigned(inner)
            case s.Refused(_, names_):
                names |= set(names_)
    return names
