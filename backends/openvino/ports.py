"""Tensors that are one output of a node, where the other tensors are nodes as ops give them."""

from __future__ import annotations

from ...compiler.program import Apply, Class, If, Repeat, Var, walk
from ..source.computation import taken

SEVERAL = ("split", "top_k")
"""Ops whose tensors are outputs of one node."""


def ports(cls: Class) -> set[Var]:
    """The tensors of a class that are, or may be, one output of a node with several."""
    found: set[Var] = set()
    before = -1
    while len(found) > before:
        before = len(found)
        for statement in walk(cls.body):
            match statement:
                case Apply(op=op, outputs=made) if op.name in SEVERAL and len(made) > 1:
                    found.update(made)
                case Apply(regions=[_, *_], outputs=made):
                    found.update(made)
                case If(phis=phis):
                    found.update(p.result for p in phis if {p.then, p.orelse} & found)
                case Repeat(carried=carried, results=results):
                    for each in carried:
                        if {each.initial, each.next} & found:
                            found.update((each.current, each.result))
                    found.update(after for inside, after in results.items() if inside in found)
    return found


def passes_ports(cls: Class) -> bool:
    """Whether one output of a node may come to another method as its input."""
    passed = {v for s in walk(cls.body) if not isinstance(s, Apply) for v in taken(s)}
    return bool(ports(cls) & passed)
