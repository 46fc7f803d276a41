"""`param`, `state` and `:=` lines: weights of a block, how they start, and what states become."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ...compiler.diagnose import MlcError, Note
from ...compiler.expr import literal as literal_expr
from ...compiler.graph import Init, Type, Weight
from . import syntax as s
from .context import Absent, Frame, Tensor, Variable, join, kind_of
from .errors import suggest

if TYPE_CHECKING:
    from .elaborate import Elaborator

INITS: Mapping[str, int] = {
    "zeros": 0, "ones": 0, "constant": 1, "normal": 1, "uniform": 2, "kaiming_uniform": 1,
    "fan_uniform": 1, "xavier_uniform": 0,
}  # fmt: skip
"""How a param or state may start, and how many numbers that takes."""


class Params:
    """Declares weights in a frame, and notes the next values of states."""

    def __init__(self, elaborator: Elaborator) -> None:
        self.e = elaborator

    def param(self, frame: Frame, node: s.Param) -> None:
        """A `param` or `state` line: the weight, made once for each instance of the block."""
        declared = self.e.statements.declare(frame).type(node.type)
        if not all(isinstance(size, int) for size in declared.shape):
            message = f"{node.name} is {declared}, and its sizes must be known"
            raise MlcError("static", message, node.span,
                           help="make the size a hyper-parameter")  # fmt: skip
        place = frame.place(node.site, node.span)
        path = place.path if node.path is None else join(frame.scope.path, node.path)
        weight = self._weight(frame, node, declared, path)
        value = self.e.graph.updates.get(weight, (weight, ""))[0]
        labels = tuple(axis.label for axis in node.type.axes)
        frame.variables[node.name] = Variable(Tensor(value, labels), None, frame.scope)

    def _weight(self, frame: Frame, node: s.Param, declared: Type, path: str) -> Weight:
        key = frame.instance.key(path)
        known = frame.instance.parts.get(key)
        if isinstance(known, Weight):
            return known
        sizes = [self.e.expressions.express(frame, axis.size) for axis in node.type.axes]
        exprs = tuple(
            expr or literal_expr(size) for expr, size in zip(sizes, declared.shape, strict=True)
        )
        bare = declared.with_(labels=(None,) * declared.rank)
        weight = Weight(
            path, bare, self._init(frame, node), trainable=not node.state, scope=frame.scope,
            part=node.name, site=node.site, exprs=exprs, span=node.span,
        )  # fmt: skip
        self.e.construct.add_weight(weight)
        frame.instance.parts[key] = weight
        return weight

    def _init(self, frame: Frame, node: s.Param) -> Init:
        """How a weight starts: `zeros`, `normal(0.02)`, or a number."""
        init = node.init
        match init:
            case None:
                raise MlcError("argument", f"{node.name} needs a start", node.span,
                               help="write `= zeros` or `= normal(0.02)`")  # fmt: skip
            case s.Name(name) if name not in frame.variables:
                arguments: tuple[s.Argument, ...] = ()
            case s.Call(s.Name(name), arguments):
                pass
            case _:
                return Init("constant", (self._start(frame, init),))
        if name not in INITS:
            help = suggest(name, INITS) or f"one of {', '.join(INITS)}"
            raise MlcError("name", f"there is no start called {name}", init.span, help=help)
        if len(arguments) != INITS[name] or any(a.name for a in arguments):
            message = f"{name} takes {INITS[name]} numbers, and gets {len(arguments)}"
            raise MlcError("argument", message, init.span)
        return Init(name, tuple(self._start(frame, a.value) for a in arguments))

    def _start(self, frame: Frame, node: s.Syntax) -> float:
        value = self.e.statements.evaluate(frame, node)
        if not isinstance(value, (int, float)):
            raise MlcError("value", f"a number is expected, not {kind_of(value)}", node.span)
        return float(value)

    def update(self, frame: Frame, node: s.Update) -> None:
        """`count := value`: what a state is after this call, or after one in training."""
        if self.e.construct.regions:
            message = (
                f"{node.name} is set in the body of a `{self.e.construct.regions[-1].keyword}`"
            )
            raise MlcError(
                "unsupported", message, node.span, help="carry a variable, and set it after"
            )
        weight = self._state(frame, node)
        if node.name in frame.updated:
            raise MlcError("state", f"{node.name} is set twice in one call", node.span)
        frame.updated.add(node.name)
        value = self.e.statements.evaluate(frame, node.value)
        if isinstance(value, Absent):
            value = self.e.construct.fill(frame, value)
        if not isinstance(value, Tensor):
            raise MlcError("value", f"{node.name} takes a tensor, and gets {kind_of(value)}",
                           node.span)  # fmt: skip
        note = Note("declared here", weight.span)
        self.e.statements.declare(frame).check(weight.type, value, node.name, node.span, [note])
        when = "training" if node.training else "always"
        self.e.graph.updates[weight] = (value.value, when)

    def _state(self, frame: Frame, node: s.Update) -> Weight:
        self.e.spend(len(frame.instance.parts), node.span)
        found = [
            part for part in frame.instance.parts.values()
            if isinstance(part, Weight) and part.part == node.name and part.layer is None
        ]  # fmt: skip
        if not found or found[0].trainable:
            what = "a param, which training changes" if found else "no state"
            raise MlcError("state", f"{node.name} is {what}", node.span,
                           help=f"declare `state {node.name}: type = zeros`")  # fmt: skip
        return found[0]
