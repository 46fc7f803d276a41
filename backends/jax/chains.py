"""Linear branches: a `nnx.Sequential`, or the layers in a list where some stage is no module."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import TypeAlias

from ...compiler.program import Apply, Call, Chain, Class, If, Program, Statement, walk
from .rules import moves

Stage: TypeAlias = "Callable[[Chain, str], list[str]]"
"""The keys of a stage in what holds its branch."""


def sequential(chain: Chain) -> bool:
    """Whether each stage takes only what the one before gives."""
    given = chain.input
    for stage in chain.body:
        if not isinstance(stage, (Apply, Call)):
            return False
        if [v for v in stage.inputs if v is not None] != [given]:
            return False
        given = stage.outputs[0]
    return given is chain.output


def stages(chain: Chain) -> list[Statement]:
    """Those that do something: another view of axes may be none as they are stored."""
    return [s for s in chain.body if not (isinstance(s, Apply) and _still(s))]


def _still(statement: Apply) -> bool:
    order = moves(statement)
    return order is not None and order == tuple(range(len(order)))


def owned(chain: Chain) -> list[Apply | Call]:
    """The stages that are layers or blocks."""
    return [
        stage for stage in chain.body
        if isinstance(stage, (Apply, Call)) and stage.member is not None
    ]  # fmt: skip


def one_member(statement: If) -> Chain | Apply | Call | None:
    """The member that an If passes by, if that is all it does and the member is one module."""
    found = statement.optional
    return None if isinstance(found, Chain) and not sequential(found) else found


def place(chain: Chain, name: str) -> list[str]:
    """Where a stage stands in what holds the branch."""
    held: Sequence[Statement] = stages(chain) if sequential(chain) else owned(chain)
    for i, stage in enumerate(held):
        member = stage.member if isinstance(stage, (Apply, Call)) else None
        if member is not None and member.name == name:
            return ["layers", str(i)] if sequential(chain) else [str(i)]
    raise AssertionError(f"{chain.member.name} has no stage {name}")


def state_path(
    program: Program,
    holders: Sequence[tuple[str, int | None]],
    stage: Stage = place,
) -> list[str]:
    """The keys from the model down to a layer, names not yet made safe; `stage` gives those of a
    stage in what holds its branch."""
    return [key for _, keys in down(program, holders, stage) for key in keys]


def down(
    program: Program,
    holders: Sequence[tuple[str, int | None]],
    stage: Stage = place,
) -> Iterator[tuple[Class, list[str]]]:
    """For each step from the model down to a layer, the class that it is in, and its keys."""
    cls = program.model
    chain: Chain | None = None
    for name, index in holders:
        if chain is not None and name.isdigit():
            yield cls, stage(chain, name)
            found = _named(chain.body).get(name)
        else:
            yield cls, [name] if index is None else [name, str(index)]
            found = _held(program)[cls].get(name)
        chain = found if isinstance(found, Chain) else None
        if isinstance(found, Call):
            cls = found.cls


@lru_cache(maxsize=1)  # of one program, for which each weight asks
def _held(program: Program) -> dict[Class, dict[str, Chain | Call]]:
    return {cls: _named(walk(cls.body)) for cls in program.classes}


def _named(statements: Iterable[Statement]) -> dict[str, Chain | Call]:
    """The branches and the calls of blocks, by the name under which they are held."""
    found: dict[str, Chain | Call] = {}
    for statement in statements:
        if isinstance(statement, (Chain, Call)):
            found.setdefault(statement.member.name, statement)
    return found
