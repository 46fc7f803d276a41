"""Scans, loops and choices that depend on data: their bodies become blocks of one node."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ...compiler.diagnose import MlcError, Span
from ...compiler.dim import bounds
from ...compiler.graph import Type, Value
from ...compiler.op import Op
from ...compiler.ops.control import IF, SCAN, WHILE, element
from . import syntax as s
from .attribute import axis_name, resolve
from .context import Absent, Frame, Poisoned, Tensor, Variable, kind_of
from .limits import ITERATIONS
from .region import Region, sealed
from .sites import assigned

if TYPE_CHECKING:
    from .elaborate import Elaborator


class Control:
    """Elaborates the statements whose course tensors decide."""

    def __init__(self, elaborator: Elaborator) -> None:
        self.e = elaborator

    # ------------------------------------------------------------------------------------ scan

    def scan(self, frame: Frame, node: s.Scan) -> None:
        """`scan x_t in x along T:`; what is assigned is carried, lists that grow are stacked."""
        sources = [self._source(frame, table) for table in node.tables]
        if len(node.targets) != len(sources):
            message = f"{len(node.targets)} names take {len(node.targets)} tensors, and get"
            raise MlcError("value", f"{message} {len(sources)}", node.span)
        axis = self._axis(node, sources)
        lists = self._lists(frame, node)
        carries = self._carries(frame, node.body, {*node.targets, *lists}, node)
        if not carries and not lists:
            help = "assign a variable that is there before, or start a list: `ys = []`"
            raise MlcError("value", "nothing comes out of this scan", node.span, help=help)
        region = Region("scan", self.e.graph, frame.scope)
        before = dict(frame.variables)
        with self._inside(frame, region):
            self._bind(frame, region, carries, node.span)
            for name, x in zip(node.targets, sources, strict=True):
                kind = element(x.value.type, axis)
                at = min(axis, x.value.type.rank - 1)
                own = x.labels[:at] + x.labels[at + 1 :]
                frame.assign(name, Tensor(region.input(name, kind, node.span), own))
            self.e.statements.run(frame, node.body)
            after = self._after(frame, carries, node)
            stacks = {name: self._collected(frame, name, node) for name in lists}
        frame.variables = before
        collected = {f"{name}[]": value.value for name, value in stacks.items()}
        region.close({**_values(after), **collected})
        blocks, captured = sealed(region)
        given = [*_values(carries).values(), *(x.value for x in sources), *captured]
        attrs = {"carried": len(carries), "scanned": len(sources), "axis": axis,
                 "reverse": node.reverse}  # fmt: skip
        made = self._apply(frame, SCAN, given, attrs, blocks, node)
        label = sources[0].labels[min(axis, sources[0].value.type.rank - 1)]
        labels = [t.labels for t in after.values()]
        labels += [_with(t.labels, axis, label) for t in stacks.values()]
        self._assign(frame, [*carries, *lists], made, labels)

    def _source(self, frame: Frame, table: s.Syntax) -> Tensor:
        """A tensor that is gone through."""
        value = self.e.statements.evaluate(frame, table)
        if isinstance(value, Absent):
            value = self.e.construct.fill(frame, value)
        if not isinstance(value, Tensor):
            message = f"`scan` goes through a tensor, and gets {kind_of(value)}"
            help = "several go together: `scan a, b in zip(x, y) along T:`"
            raise MlcError("value", message, table.span, help=help)
        if not value.value.type.rank:
            raise MlcError("axis", f"{kind_of(value)} has no axis to scan along", table.span)
        return value

    def _axis(self, node: s.Scan, sources: Sequence[Tensor]) -> int:
        """The axis along which the tensors are gone through, one for all."""
        name = axis_name("the axis of a scan", node.axis)
        found = [resolve(name, x, x.value.type.rank) for x in sources]
        ranks = [x.value.type.rank for x in sources]
        axis = found[max(range(len(found)), key=lambda i: ranks[i])]
        for x, at, rank in zip(sources, found, ranks, strict=True):
            if at != min(axis, rank - 1):
                message = f"{name.axis} is axis {at} of {x.value.type}, and axis {axis} of another"
                raise MlcError("axis", message, node.axis.span,
                               help="transpose one of them before the scan")  # fmt: skip
        return axis

    def _lists(self, frame: Frame, node: s.Scan) -> list[str]:
        """The names of lists that grow by one element in each step."""
        found: dict[str, None] = {}
        for part in node.body:
            for each in part.walk():
                if isinstance(each, s.Grow):
                    known = frame.variables.get(each.name)
                    if known is not None and isinstance(known.value, list):
                        found[each.name] = None
        for name in found:
            if frame.variables[name].value:
                message = f"{name} has elements already, and a scan stacks what it puts in it"
                raise MlcError("value", message, node.span, help=f"start with `{name} = []`")
            self._check_reads(name, node)
        return list(found)

    def _check_reads(self, name: str, node: s.Scan) -> None:
        """Raises where the body does anything with the list but put one element in it."""
        for part in (x for each in node.body for x in each.walk()):
            assigns = isinstance(part, s.Assign) and name in part.targets
            if assigns or (isinstance(part, s.Name) and part.id == name):
                message = f"{name} is put together step by step, and there is no list inside"
                raise MlcError("value", message, part.span,
                               help="carry what a later step needs in a variable")  # fmt: skip

    def _collected(self, frame: Frame, name: str, node: s.Scan) -> Tensor:
        value = frame.variables[name].value
        if value is Poisoned:
            raise Poisoned
        if len(value) != 1 or not isinstance(value[0], Tensor):
            what = f"{len(value)} elements" if len(value) != 1 else kind_of(value[0])
            message = f"{name} gets {what} in a step, and a stack takes one tensor"
            raise MlcError("value", message, node.span)
        found: Tensor = value[0]
        return found

    # ----------------------------------------------------------------------------------- while

    def loop(self, frame: Frame, node: s.While) -> None:
        """`while condition, at most 10:`; what is assigned is carried."""
        bound = None
        if node.bound is not None:
            value = self.e.statements.evaluate(frame, node.bound)
            bound = self.e.attributes(frame).size("the bound of a loop", value, node.bound.span)
            if not isinstance(bound, int):
                message = f"the bound of a loop, {bound}, is not known"
                raise MlcError("static", message, node.bound.span)
            if bound > ITERATIONS:
                message = f"a loop of more than {ITERATIONS} steps"
                raise MlcError("limit", message, node.bound.span)
        carries = self._carries(frame, node.body, set(), node)
        going, step = (Region("while", self.e.graph, frame.scope) for _ in range(2))
        before = dict(frame.variables)
        with self._inside(frame, going):
            self._bind(frame, going, carries, node.span)
            condition = self._condition(frame, node.condition)
            going.close({"going": condition.value})
        if not any(x.users or x in going.graph.live() for x in going.graph.inputs):
            message = "the condition depends on nothing that the body changes"
            raise MlcError("value", message, node.condition.span)
        frame.variables = dict(before)
        with self._inside(frame, step):
            self._bind(frame, step, carries, node.span)
            self.e.statements.run(frame, node.body)
            after = self._after(frame, carries, node)
            step.close(_values(after))
        frame.variables = before
        blocks, captured = sealed(going, step)
        given = [*_values(carries).values(), *captured]
        attrs = {"carried": len(carries), "bound": bound}
        made = self._apply(frame, WHILE, given, attrs, blocks, node)
        self._assign(frame, list(carries), made, [t.labels for t in after.values()])

    def _condition(self, frame: Frame, node: s.Syntax) -> Tensor:
        """A condition that data decide."""
        value = self.e.statements.evaluate(frame, node)
        if not isinstance(value, Tensor):
            message = f"{kind_of(value)} is the same in each step, and no data decide it"
            raise MlcError("value", message, node.span, help="write `repeat n:`")
        return self._scalar(value, node)

    def _scalar(self, value: Tensor, node: s.Syntax) -> Tensor:
        kind = value.value.type
        if kind.dtype != "bool" or kind.rank:
            help = "choose by element: `where(condition, a, b)`"
            raise MlcError("dtype", f"a condition is one bool, and this is {_bare(kind)}",
                           node.span, help=help)  # fmt: skip
        return value

    # -------------------------------------------------------------------------------------- if

    def branch(self, frame: Frame, node: s.If, test: Tensor) -> None:
        """`if condition:`; what both arms assign, or one and was there before, comes out of it."""
        self._scalar(test, node.test)
        arms = (node.body, node.other)
        both = assigned(node.body) & assigned(node.other)
        names = sorted(both | {n for arm in arms for n in assigned(arm) if n in frame.variables})
        before = dict(frame.variables)
        regions, found = [], []
        for body in arms:
            region = Region("if", self.e.graph, frame.scope)
            with self._inside(frame, region):
                self.e.statements.run(frame, body)
                found.append(self._made(frame, names, before, node))
            frame.variables = dict(before)
            regions.append(region)
        kept = [name for name in names if name in found[0] and name in found[1]]
        self._choice(frame, node, test, regions, [[arm[n] for n in kept] for arm in found], kept)

    def _made(
        self, frame: Frame, names: Sequence[str], before: Mapping[str, Variable], node: s.If
    ) -> dict[str, Tensor]:
        """The tensors that these names stand for at the end of an arm."""
        found = {}
        for name in names:
            variable = frame.variables.get(name)
            if variable is None:
                continue
            if variable.value is Poisoned:
                raise Poisoned
            if isinstance(variable.value, list):
                message = f"{name} is a list, which an arm that data decide cannot change"
                raise MlcError("value", message, node.span)
            value = self._tensor(frame, variable.value, node)
            if value is not None:
                found[name] = value
            elif name in before:
                message = f"{name} becomes {kind_of(variable.value)} in an arm that data decide"
                raise MlcError("value", message, node.span)
        return found

    def choose(self, frame: Frame, node: s.Conditional, test: Tensor) -> Tensor:
        """`a if condition else b`."""
        self._scalar(test, node.test)
        regions, found = [], []
        for branch in (node.body, node.other):
            region = Region("if", self.e.graph, frame.scope)
            with self._inside(frame, region):
                given = self.e.statements.evaluate(frame, branch)
                value = self._tensor(frame, given, node)
            if value is None:
                message = f"{kind_of(given)} is no tensor, and data decide whether it is taken"
                raise MlcError("value", message, branch.span)
            regions.append(region)
            found.append([value])
        (made,) = self._choice(frame, node, test, regions, found, ())
        return made

    def _choice(
        self,
        frame: Frame,
        node: s.Syntax,
        test: Tensor,
        regions: Sequence[Region],
        found: Sequence[Sequence[Tensor]],
        names: Sequence[str],
    ) -> list[Tensor]:
        """The node of a choice between these tensors, which get these names."""
        for x, y in zip(*found, strict=True):
            if _differ(x.value.type, y.value.type):
                kinds = f"{_bare(x.value.type)} in one arm, and {_bare(y.value.type)} in the other"
                name = next((n for n, t in zip(names, found[0], strict=False) if t is x), "this")
                raise MlcError("shape", f"{name} is {kinds}", node.span)
        for region, tensors in zip(regions, found, strict=True):
            region.close({str(i): tensor.value for i, tensor in enumerate(tensors)})
        blocks, captured = sealed(*regions)
        if not found[0]:
            return []
        made = self._apply(frame, IF, [test.value, *captured], {}, blocks, node)
        results = [Tensor(value, t.labels) for value, t in zip(made, found[0], strict=True)]
        for name, tensor in zip(names, results, strict=False):
            frame.assign(name, tensor)
        return results

    # --------------------------------------------------------------------------------- carries

    def _carries(
        self, frame: Frame, body: Sequence[s.Syntax], others: set[str], node: s.Syntax
    ) -> dict[str, Tensor]:
        """What the body assigns and was there before it, as tensors; a number becomes one."""
        found: dict[str, Tensor] = {}
        for name in sorted(assigned(tuple(body)) - others):
            variable = frame.variables.get(name)
            if variable is None:
                continue
            if variable.value is Poisoned:
                raise Poisoned
            value = self._tensor(frame, variable.value, node)
            if value is not None:
                found[name] = value
        return found

    def _tensor(self, frame: Frame, value: Any, node: s.Syntax) -> Tensor | None:
        """A tensor, or a number as one; None for what is neither."""
        if isinstance(value, Absent):
            return self.e.construct.fill(frame, value)
        if isinstance(value, Tensor):
            return value
        kinds = {bool: "bool", int: "i32", float: "f32"}
        if type(value) not in kinds:
            return None
        return self.e.construct.constant(
            frame, value, kinds[type(value)], site=node.site, span=node.span, expr=None
        )

    def _bind(
        self, frame: Frame, region: Region, carries: Mapping[str, Tensor], span: Span
    ) -> None:
        """The carries as they are at the start of a step."""
        for name, value in carries.items():
            given = region.input(name, value.value.type, span)
            frame.variables[name] = Variable(Tensor(given, value.labels), None, frame.scope)
            frame.scope.block.names.setdefault(given, name)

    def _after(
        self, frame: Frame, carries: Mapping[str, Tensor], node: s.Syntax
    ) -> dict[str, Tensor]:
        """The carries as they are at the end of a step."""
        found: dict[str, Tensor] = {}
        for name, start in carries.items():
            value = frame.variables[name].value
            if value is Poisoned:
                raise Poisoned
            after = self._tensor(frame, value, node)
            if after is None:
                raise MlcError("carry", f"{name} becomes {kind_of(value)} in a step", node.span)
            found[name] = after
            before, now = start.value.type, after.value.type
            if _differ(before, now):
                message = f"{name} is {_bare(before)} before a step, and {_bare(now)} after it"
                help = "what a loop carries keeps its shape and element type"
                raise MlcError("carry", message, node.span, help=help)
        return found

    # ---------------------------------------------------------------------------------- the node

    @contextmanager
    def _inside(self, frame: Frame, region: Region) -> Iterator[None]:
        """Elaborates into the region."""
        self.e.construct.regions.append(region)
        try:
            with frame.within(region.scope):
                yield
        finally:
            self.e.construct.regions.pop()

    def _apply(
        self, frame: Frame, op: Op, given: Sequence[Value], attrs: Mapping[str, Any],
        blocks: Sequence[Any], node: s.Syntax,
    ) -> tuple[Value, ...]:  # fmt: skip
        made = self.e.construct.control(frame, op, given, attrs, blocks, node.site, node.span)
        return made.outputs

    def _assign(
        self, frame: Frame, names: Sequence[str], made: Sequence[Value],
        labels: Sequence[tuple[str | None, ...]],
    ) -> None:  # fmt: skip
        for name, value, own in zip(names, made, labels, strict=True):
            frame.assign(name, Tensor(value, own))


def _values(tensors: Mapping[str, Tensor]) -> dict[str, Value]:
    return {name: tensor.value for name, tensor in tensors.items()}


def _with(labels: tuple[str | None, ...], axis: int, label: str | None) -> tuple[str | None, ...]:
    """The labels of a stack of tensors with these."""
    at = min(axis, len(labels))
    return (*labels[:at], label, *labels[at:])


def _differ(a: Type, b: Type) -> bool:
    """Whether the types cannot be the same."""
    if a.dtype != b.dtype or a.rank != b.rank:
        return True
    ends = [bounds(x - y) for x, y in zip(a.shape, b.shape, strict=True)]
    return any(low > 0 or high < 0 for low, high in ends)


def _bare(kind: Type) -> Type:
    """The type without labels, which do not matter."""
    return kind.with_(labels=(None,) * kind.rank)
