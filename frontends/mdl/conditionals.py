"""Static ifs: which arm is taken, and what remains known of the other one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ...compiler.diagnose import MlcError
from ...compiler.expr import Undecided, names, unknown
from ...compiler.expr import literal as literal_expr
from ...compiler.graph import Scope
from ...compiler.op import Op
from . import static
from . import syntax as s
from .context import Absent, Block, Frame, Tensor, Variable
from .variants import Decision

if TYPE_CHECKING:
    from .elaborate import Elaborator


class Conditionals:
    """Decides static ifs, as statements and in expressions, and records the arms."""

    def __init__(self, elaborator: Elaborator) -> None:
        self.e = elaborator

    def decide(self, frame: Frame, test: s.Syntax) -> bool | Tensor:
        """The value of a condition, a tensor where data decide it; raises where sizes do."""
        try:
            value = self.e.expressions.evaluate(frame, test)
        except Undecided as undecided:
            raise MlcError(
                "undecided", f"whether {undecided} is not known: it depends on the input's size",
                test.span, help=f"if it must hold, write `require {undecided}`",
            ) from None  # fmt: skip
        if isinstance(value, Absent):
            value = self.e.construct.fill(frame, value)
        return value if isinstance(value, Tensor) else static.truth(value, test.span)

    def pick(self, frame: Frame, name: str, node: s.Syntax) -> None:
        """Keeps why a name stands for one of two blocks: `Unit = Basic if deep else Bottleneck`."""
        variable = frame.variables[name]
        if not isinstance(node, s.Conditional) or not isinstance(variable.value, Block):
            return
        if not any(isinstance(branch, s.Conditional) for branch in (node.body, node.other)):
            condition, arm = frame.scope.ifs[node.site]
            frame.variables[name] = Variable(variable.value, condition, frame.scope, arm)

    @contextmanager
    def picked(self, frame: Frame, node: s.Call | s.Stage, callee: Any) -> Iterator[None]:
        """Calls a block that a static `if` has chosen in the arm of such an `if`."""
        name = node.callee.id if isinstance(node.callee, s.Name) else ""
        variable = frame.variables.get(name)
        test = frame.source(variable) if variable is not None else None
        if variable is None or variable.arm is None or test is None:
            self._chosen(frame, node, callee)
            yield
            return
        frame.scope.ifs[node.site] = (test, variable.arm)
        with frame.arm(node.site, variable.arm):
            yield

    def _chosen(self, frame: Frame, node: s.Call | s.Stage, callee: Any) -> None:
        """Records by which names the op or block that is applied was chosen, as a static `if`
        whose other arm nobody has seen: `x -> [relu, gelu][kind]`. Of what is held, the element
        of a list that no turn of a loop chooses."""
        expr = self.e.expressions.origin(frame, node.callee)
        read = set() if expr is None else names(expr)
        if not isinstance(callee, (Op, Block)):
            turns = [scope for scope in frame.scope.ancestors() if scope.kind == "iteration"]
            turning = any(read & scope.values.keys() for scope in turns)
            if turning or not isinstance(node.callee, s.Index):
                return
        if read:
            frame.scope.ifs[node.site] = (unknown(read), 0)

    def record(self, frame: Frame, node: s.If | s.Conditional, taken: bool) -> int:
        """Notes which arm of a static `if` was taken; the arm's number."""
        expr = self.e.expressions.express(frame, node.test)
        arm = 0 if taken else 1
        condition = expr or literal_expr(taken)
        frame.scope.ifs[node.site] = (condition, arm)
        frame.decided |= names(condition)
        self.e.decisions.append(Decision(frame.scope, node.site, condition, taken))
        return arm

    def conditional(self, frame: Frame, node: s.Conditional) -> Any:
        """`a if test else b`: a static value, or what the taken branch makes."""
        taken = self.decide(frame, node.test)
        if isinstance(taken, Tensor):
            return self.e.control.choose(frame, node, taken)
        branch = node.body if taken else node.other
        if self.e.expressions.express(frame, branch) is not None:
            value = self.e.expressions.evaluate(frame, branch)
            if isinstance(value, Block):
                self.record(frame, node, taken)
            return value
        arm = self.record(frame, node, taken)
        with frame.arm(node.site, arm):
            if node.site in frame.block.plan.chains and isinstance(branch, s.Pipe):
                return self._chain(frame, node, branch)
            value = self.e.expressions.evaluate(frame, branch)
        return value

    def _chain(self, frame: Frame, node: s.Conditional, pipe: s.Pipe) -> Any:
        """A branch that becomes one member, whose layers are numbered."""
        place = frame.place(node.site, pipe.span)
        source = self.e.expressions.evaluate(frame, pipe.source)
        scope = Scope(
            "chain", parent=frame.scope, path=place.path, member=place.member, index=place.index,
            site=node.site, arms=frame.arms, span=pipe.span,
        )  # fmt: skip
        with frame.within(scope):
            result = self.e.expressions.stages(frame, pipe, source, numbered=True)
        if isinstance(source, Tensor):
            scope.inputs["x"] = source.value
        if isinstance(result, Tensor):
            scope.outputs["y"] = result.value
        return result
