"""The `forward` of an emitted `nn.Module`."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import ClassVar

from ...compiler import expr
from ...compiler.diagnose import MlcError
from ...compiler.dim import symbols
from ...compiler.expr import Expr, literal
from ...compiler.graph import Input
from ...compiler.program import Apply, Call, Chain, Class, If, Member, Var, WeightVar, walk
from ..source.compose import Assign, Return, Store, When
from ..source.computation import Computation
from ..source.parts import Parts, Rule
from ..source.reads import Reads
from ..source.scope import Scope
from ..source.tree import real, tree
from .attention import Attention
from .constructor import sequential, stage_of
from .control import written
from .dtypes import dtype
from .layers import APPLIED
from .recurrent import GROUPED
from .rules import RULES
from .shapes import cut


class Forward(Computation):
    """The lines of `forward`; `optional` are the model's inputs that may be left out."""

    target: ClassVar[str] = "pytorch"
    rules: ClassVar[Mapping[str, Rule]] = RULES
    layers: Mapping[str, Rule | None] = APPLIED  # type: ignore[misc]
    grouped: ClassVar[Mapping[str, tuple[int, ...]]] = GROUPED

    def __init__(
        self,
        cls: Class,
        scope: Scope,
        taken: frozenset[str],
        attention: Attention | None,
        optional: Mapping[str, Input],
    ) -> None:
        super().__init__(cls, scope, taken)
        self.reads = Reads(cls, scope, self.out)
        self.place = self.reads.place
        self.optional = optional
        if attention is not None:
            self.layers = {**APPLIED, "attention": attention.applied}
        self.ordered = ordered(cls)
        self.within: Member | None = None

    # ------------------------------------------------------------------------------- operands

    def weight(self, var: WeightVar) -> Expr:
        if var.member is None:
            return expr.parse(f"self.{self.scope.attribute(var.part)}")
        return tree(f"{{f}}.{var.part}", f=self.holder(var.member))

    def buffer(self, var: WeightVar) -> Expr:
        return tree("{x}.clone()", x=self.weight(var))

    def holder(self, member: Member) -> Expr:
        if self.within is not None:
            outer, self.within = self.within, None
            held = self.holder(outer)
            self.within = outer
            return tree("{f}[{name}]", f=held, name=literal(member.name))
        return super().holder(member)

    def parts(self, statement: Apply) -> Parts:
        holder = self.holder(statement.member) if statement.member else None
        return Parts(statement, self.read, self.place, holder, self.numbers, self.device())

    def spelled(self, statement: Apply) -> Expr:
        picked = self.picked(statement)
        if picked is not None:
            return cut(self.parts(picked), statement.values["axes"])
        return super().spelled(statement)

    def device(self) -> Expr | None:
        """Where new tensors belong: beside an input, or else beside a tensor of the class's own."""
        for name, var in self.cls.inputs.items():
            if name not in self.optional:
                return tree("{x}.device", x=self.out.ref(var))
        for parameter in self.cls.parameters:
            return tree("{x}.device", x=self.weight(parameter.var))
        return None

    # ------------------------------------------------------------------------------ statements

    def define(self, outputs: Sequence[Var], value: Expr) -> None:
        super().define(outputs, value)
        if outputs[0] in self.ordered:
            self.out.join(outputs[0])

    def control(self, statement: Apply) -> None:
        written(self, statement)

    def optional_member(self, statement: If) -> Chain | Apply | Call | None:
        return stage_of(statement)

    def chain(self, statement: Chain) -> None:
        """A linear branch is a member, or, where a stage is no module, written out."""
        if sequential(statement):
            super().chain(statement)
            return
        self.within = statement.member
        self.body(statement.body)
        self.within = None

    # ------------------------------------------------------------------------------ the function

    def every_line(self) -> None:
        """Collects all lines: defaults, the body, new buffers, and what is returned."""
        for name, given in self.optional.items():
            self._default(self.cls.inputs[name], given)
        self.body(self.cls.body)
        results = [self._kept(var) for var in self.cls.outputs.values()]
        if len(results) == 1:
            self.out.final = {self.out.leader(var) for var in self.cls.outputs.values()}
        values = [self._kept(var) for _, var in self.cls.updates]
        for (parameter, _), value in zip(self.cls.updates, values, strict=True):
            target = expr.parse(f"self.{self.scope.attribute(parameter.name)}")
            self.out.lines.append(Store(target, tree("{x}.detach()", x=value)))
        single = len(results) == 1
        self.out.lines.append(Return(results[0] if single else ast.Tuple(results, ast.Load())))
        self.reads.settle()

    def _kept(self, var: Var) -> Expr:
        """A result; a buffer that is about to change is read before."""
        if isinstance(var, WeightVar) and any(p.var is var for p, _ in self.cls.updates):
            old = Var(f"old_{var.part}", var.type)
            self.out.join(old)
            self.define([old], self.read(var))
            return self.out.ref(old)
        return self.read(var)

    def _default(self, var: Var, given: Input) -> None:
        """`if keep is None: keep = torch.ones(…)`."""
        self._readable(var)
        kind = var.type.dtype
        value = given.default
        plain = {1: "torch.ones(*{shape}, ", 0: "torch.zeros(*{shape}, "}
        template = plain.get(value, "torch.full({size}, {value}, ")
        shape = [self.place(literal(size)) for size in var.type.shape]
        size = ast.Tuple(shape, ast.Load())
        made = tree(
            template + "dtype={dtype}, device={device})",
            shape=shape or [size], size=size,
            value=real(value) if var.type.floating else literal(value),
            dtype=None if kind == "f32" else dtype(kind), device=self.device(),
        )  # fmt: skip
        self.out.join(var)
        missing = tree("{x} is None", x=self.out.ref(var))
        self.out.lines.append(When(missing, [Assign([var], made)], []))

    def _readable(self, var: Var) -> None:
        """Raises where only the input that is left out could tell its own size."""
        for size in var.type.shape:
            for name in symbols(size):
                source = self.cls.sizes.get(name, ("", 0))[0]
                if source in self.optional:
                    what = f"the size {name} of {var.name} is known from {source} alone, "
                    raise MlcError("unsupported", what + "which may be left out")


def ordered(cls: Class) -> set[Var]:
    """What is given by calls that must keep their order: of members with buffers that are called
    more than once, all but the last call."""
    calls = [s for s in walk(cls.body) if isinstance(s, (Apply, Call)) and _changes(s)]
    again = {s.member.name for s in calls if s.member is not None and not s.first}
    shared = [s for s in calls if s.member is not None and s.member.name in again]
    return {out for s in shared[:-1] for out in s.outputs}


def _changes(statement: Apply | Call) -> bool:
    """Whether the statement changes buffers."""
    if isinstance(statement, Apply):
        return statement.op.effect == "state"
    return stateful(statement.cls)


def stateful(cls: Class) -> bool:
    """Whether a call of the class changes buffers."""
    calls = (s for s in walk(cls.body) if isinstance(s, (Apply, Call)))
    return bool(cls.updates) or any(map(_changes, calls))
