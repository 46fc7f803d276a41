"""States: inputs of the model, and outputs called `<path>.next` for what a call makes of them."""

from __future__ import annotations

from ...compiler.diagnose import MlcError
from ...compiler.graph import Graph, Node, Value
from ...compiler.ops.draw import NOISE
from ...compiler.program import Call, Class, Program, Var, walk

NEXT = ".next"
"""What the name of a state's output has behind the state's path."""

READ = "self.used.setdefault(name, self.weights[name])"
"""A tensor of the weights file, noted as one that is asked for."""

METHOD = f'''\
def state(self, name: str) -> list[ov.Output]:
    """A state before and after each call; the first is an input of the model."""
    if name not in self.states:
        start = {READ}
        self.states[name] = [ops.parameter(start.shape, ov.Type(start.dtype), name=name)]
    return self.states[name]
'''

FIRST = "self.states: dict[str, list[ov.Output]] = {}"
"""Stands first in `build`, which starts anew each time."""

USE = (
    "    A state is an input too: feed it what the weights file has under its name, and then what\n"
    f"    the call before gave as `<name>{NEXT}`.\n\n"
)
"""For the docstring of `build`."""


def stateful(cls: Class) -> bool:
    """Whether a call of the class changes states."""
    calls = (s for s in walk(cls.body) if isinstance(s, Call))
    return bool(cls.updates) or any(stateful(call.cls) for call in calls)


def any_states(program: Program) -> bool:
    """Whether the model has states that change."""
    return any(cls.updates for cls in program.classes)


def ordered(cls: Class) -> set[Var]:
    """What is given by calls that must keep their order: of members with states that are called
    more than once."""
    calls = [s for s in walk(cls.body) if isinstance(s, Call) and stateful(s.cls)]
    again = {s.member.name for s in calls if not s.first}
    return {out for s in calls if s.member.name in again for out in s.outputs}


def check_names(graph: Graph) -> None:
    """Raises MlcError `unsupported` where a state is called like another input or output."""
    for weight in graph.updates:
        if weight.path in {*(x.name for x in graph.inputs), *graph.outputs}:
            text = f"both a state and an input or output of {graph.name} are called {weight.path}"
            raise MlcError("unsupported", text, weight.span, help="rename one of them")


def check_states(graph: Graph) -> None:
    """Raises MlcError `unsupported` where a layer changes its own buffers, as methods do not."""
    for weight in graph.updates:
        if weight.layer is not None:
            text = f"OpenVINO source for {weight.path}, which inference changes, is not there yet"
            raise MlcError("unsupported", text, weight.span, help="choose another target")


def shared(graph: Graph) -> set[str]:
    """The outputs whose tensor already has a name: of an input, noise, a state, another output."""
    named: set[Value] = {*graph.inputs, *graph.updates}
    named |= {node.output for node in graph if node.op is NOISE}
    found = set()
    for name, output in graph.outputs.items():
        value = _made(output)
        if value in named:
            found.add(name)
        named.add(value)
    return found


def _made(value: Value) -> Value:
    """What the value is, where the ops that give it do nothing in OpenVINO."""
    while value.node is not None and _does_nothing(value.node):
        assert value.node.inputs[0] is not None
        value = value.node.inputs[0]
    return value


def _does_nothing(node: Node) -> bool:
    if node.op.name == "split":
        return bool(node.attrs["parts"] == 1)
    if node.op.name in GIVING_BACK:
        assert node.inputs[0] is not None
        return node.inputs[0].type.rank == node.output.type.rank == 0
    return node.op.name in ("identity", "relayout", "stop_gradient")


GIVING_BACK = ("sum", "mean", "prod", "max", "min", "any", "all", "reshape")
"""Ops that give a number back as it is."""
