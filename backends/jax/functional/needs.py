"""What each function of the file is given: parameters, state, keys, the mode, hyper-parameters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ....compiler.ops.draw import NOISE
from ....compiler.program import Apply, Call, Chain, Class, Member, Program, Statement, walk
from ...source.masks import masks
from ..layers import LAYERS
from ..stacks import Stack

RANDOM = frozenset({"dropout", "channel_dropout", "drop_path"})
"""Layers that draw at each call, and hold nothing."""

CONSTANT = frozenset({"zeros", "ones", "constant"})
"""How a weight starts that needs no key."""


@dataclass(eq=False, slots=True)
class Needs:
    """What the functions of one block take.

    params    whether there are any
    state     whether something of it is not learnt: running statistics, a `state` of the model
    key       whether a call may draw: dropout
    noise     whether a call draws noise
    train     whether a call depends on the mode
    masked    whether that is because it drops by a mask
    start     whether the parameters start at random
    hypers    the hyper-parameters that a call reads, and what they are called in its function;
              known once that is written
    made      the sizes and hyper-parameters that making the parameters reads, likewise
    """

    params: bool = False
    state: bool = False
    key: bool = False
    noise: bool = False
    train: bool = False
    masked: bool = False
    start: bool = False
    hypers: dict[str, str] = field(default_factory=dict)
    made: dict[str, str] = field(default_factory=dict)

    def add(self, other: Needs) -> None:
        """Takes in what a function needs that is called."""
        for name in ("params", "state", "key", "noise", "train", "masked", "start"):
            setattr(self, name, getattr(self, name) or getattr(other, name))


class Known:
    """The needs of all blocks of a program, by their class."""

    def __init__(self, program: Program) -> None:
        self._found: dict[Class, Needs] = {}
        for cls in program.classes:
            self._found[cls] = self._of(cls)
        self._found[program.model].params = True

    def __getitem__(self, cls: Class) -> Needs:
        return self._found[cls]

    def _of(self, cls: Class) -> Needs:
        found = Needs()
        for parameter in cls.parameters:
            drawn = parameter.init.kind not in CONSTANT
            found.add(Needs(parameter.trainable, not parameter.trainable, start=drawn))
        for statement in walk(cls.body):
            if isinstance(statement, (Apply, Call)):
                found.add(self.of(statement))
        return found

    def of(self, statement: Statement) -> Needs:
        """What the application of one layer or block needs, or of a linear branch."""
        found = Needs()
        match statement:
            case Apply(op=op) if op is NOISE:
                found.noise = True
            case Apply() if masks(statement):
                found.train = found.masked = True
            case Apply(op=op, member=Member()) if op.name in RANDOM:
                found.key = True
            case Apply(op=op, member=Member()) if op.name in LAYERS:
                stateful = op.effect == "state"
                found.params, found.state, found.train = True, stateful, stateful
                found.start = op.name not in UNDRAWN
            case Call(cls=cls):
                found.add(self._found[cls])
                found.start |= isinstance(statement, Stack) and (found.params or found.state)
            case Chain(body=body):
                for stage in body:
                    found.add(self.of(stage))
        return found

    def holds(self, statement: Statement) -> bool:
        """Whether there are parameters, or a state, of the layer or block."""
        needs = self.of(statement)
        return needs.params or needs.state


UNDRAWN = frozenset(
    {"batch_norm", "layer_norm", "rms_norm", "group_norm", "instance_norm", "prelu"}
)
"""Layers whose parameters start at fixed numbers."""


def names(known: Known, body: Iterable[Statement]) -> Mapping[str, Needs]:
    """The members of a body, those of branches not looked into, with what all uses need."""
    found: dict[str, Needs] = {}
    for statement in _whole(body):
        match statement:
            case (
                Apply(member=Member(name=name))
                | Call(member=Member(name=name))
                | Chain(member=Member(name=name))
            ):
                found.setdefault(name, Needs()).add(known.of(statement))
    return {name: needs for name, needs in found.items() if needs.params or needs.state}


def _whole(body: Iterable[Statement]) -> Iterable[Statement]:
    """All statements, but for the stages of linear branches."""
    inside: set[int] = set()
    for statement in walk(list(body)):
        if id(statement) in inside:
            continue
        if isinstance(statement, Chain):
            inside.update(id(stage) for stage in walk(statement.body))
        yield statement
