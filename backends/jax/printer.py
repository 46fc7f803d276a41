"""A class of the program as an `nnx.Module`."""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import ClassVar, TypeAlias

from ...compiler import expr
from ...compiler.diagnose import MlcError
from ...compiler.expr import Expr, literal
from ...compiler.graph import Fact, Init, Input
from ...compiler.program import (
    Apply,
    Call,
    Chain,
    Class,
    If,
    Member,
    Parameter,
    Repeat,
    Statement,
    Var,
    WeightVar,
    Whole,
    outputs,
    walk,
)  # fmt: skip
from ..source.compose import Assign, Return, Store, When
from ..source.computation import Computation
from ..source.constructor import Constructor
from ..source.draws import draws_itself
from ..source.lists import singular
from ..source.masks import masks
from ..source.module import block, describe, docstring
from ..source.names import free
from ..source.parts import Parts, Rule, spell
from ..source.reads import Reads
from ..source.scope import Scope, signature
from ..source.tree import tree
from . import recurrent
from .chains import one_member, owned, place, sequential, stages
from .control import written
from .layers import APPLIED, LAYERS
from .policy import PLAIN, Policy
from .reserved import ATTRIBUTES, LOCALS
from .rules import RULES, cut, dtype, moves, permuted, sdpa
from .scans import name as stack_class
from .stacks import Stack
from .tuples import Tuples
from .weights import VARIABLES, VIEWS

Make: TypeAlias = Callable[[Apply, Expr], Expr]
"""What becomes of the call that makes a layer."""


class Members(Constructor):
    """The constructor; `make` turns a layer into the call that makes it, `bare` are the classes
    that take no `rngs`."""

    lists: ClassVar[str] = "nnx.List"

    def __init__(
        self, cls: Class, scope: Scope, make: Make, policy: Policy, bare: Collection[str] = ()
    ) -> None:
        super().__init__(cls, scope)
        self.bare = bare
        self.make = make
        self.policy = policy
        self.tuples = Tuples(cls)

    def layer(self, apply: Apply) -> Expr:
        if apply.op.name not in LAYERS or apply.member is None:
            return self._stage(apply)
        return self.make(apply, self.policy.layer(apply, self._spelled(LAYERS, apply)))

    def _spelled(self, rules: Mapping[str, Rule], apply: Apply) -> Expr:
        parts = self.policy.cast(Parts(self.tuples.spread(apply), _hole, self.scope.init))
        return self.tuples.join(spell(rules, parts, "jax"), self.scope.init)

    def _stage(self, apply: Apply) -> Expr:
        """A function of one tensor, in a chain: `nnx.relu`, or a lambda."""
        value = self._spelled(RULES, apply)
        match value:
            case ast.Call(func=function, args=[ast.Name(id="x")], keywords=[]):
                return function
        return tree("lambda x: {y}", y=value)

    def block(self, call: ast.Call) -> Expr:
        if expr.show(call.func) not in self.bare:
            call.keywords.append(ast.keyword("rngs", expr.name("rngs")))
        return call

    def statements(self) -> Iterator[ast.stmt]:
        """The members, and what a class has that draws noise, or drops by a mask."""
        yield from super().statements()
        if any(map(masks, walk(self.cls.body))):
            yield self.set("deterministic", literal(False))
        if draws_itself(self.cls):
            yield self.set("rngs", expr.parse("rngs.fork()"))

    def sequence(self, stages: Sequence[Expr]) -> Expr:
        return tree("nnx.Sequential(*{stages})", stages=stages)

    def repeated(self, made: Expr, loop: Repeat) -> Expr:
        each = self.comprehension(made, loop)
        return tree("nnx.List({xs})", xs=ast.ListComp(each.elt, each.generators))

    def made(self, statement: Statement) -> Expr:
        if isinstance(statement, Stack):
            call = f"{stack_class(statement)}(lambda rngs: {{made}}, {{n}}, rngs=rngs)"
            made, count = super().made(statement), self.scope.init(statement.count)
            return tree(call, made=made, n=count)
        if not isinstance(statement, Chain):
            return super().made(statement)
        if sequential(statement):
            return self.sequence([self.made(stage) for stage in stages(statement)])
        return tree("nnx.List([*{xs}])", xs=[self.made(stage) for stage in owned(statement)])

    def optional_member(self, statement: If) -> Chain | Apply | Call | None:
        return one_member(statement)

    def optional(self, condition: Expr, name: str, made: list[ast.stmt]) -> Iterator[ast.stmt]:
        yield ast.If(condition, made, [self.set(name, self.absent)])

    def parameter(self, parameter: Parameter, shape: list[Expr]) -> ast.stmt:
        kind = "nnx.Param" if parameter.trainable else "nnx.BatchStat"
        order = parameter.var.order or tuple(range(len(shape)))
        start = initial(parameter.init, shape, parameter.type.dtype, order)
        return self.set(self.scope.attribute(parameter.name), tree(f"{kind}({{x}})", x=start))


def _hole(var: Var) -> Expr:
    del var
    return expr.name("x")


class Lines(Computation):
    """The lines of `__call__`."""

    target: ClassVar[str] = "jax"
    rules: ClassVar[Mapping[str, Rule]] = RULES
    layers: ClassVar[Mapping[str, Rule | None]] = APPLIED
    chains: ClassVar[bool] = False

    def __init__(self, cls: Class, scope: Scope, taken: frozenset[str], policy: Policy) -> None:
        super().__init__(cls, scope, taken)
        self.policy = policy
        self.sizes = Reads(cls, scope, self.out)
        self.place = self.sizes.place
        self.within: Chain | None = None
        self.causal = False
        self.tuples = Tuples(cls)
        stacks = [s for s in walk(cls.body) if isinstance(s, Stack)]
        self.stacked = {made for s in stacks for made in s.outputs[1:]}
        branches = (s for s in walk(cls.body) if isinstance(s, Chain) and sequential(s))
        inside = {out for branch in branches for s in branch.body for out in outputs(s)}
        self.made = {out: s for out, s in self.made.items() if out not in inside}

    def holder(self, member: Member) -> Expr:
        if self.within is None:
            return super().holder(member)
        (index,) = place(self.within, member.name)
        held = super().holder(self.within.member)
        return tree("{f}[{i}]", f=held, i=literal(int(index)))

    def optional_member(self, statement: If) -> Chain | Apply | Call | None:
        return one_member(statement)

    def chain(self, statement: Chain) -> None:
        """A branch is a member, or, where a stage is no module, written out."""
        if sequential(statement):
            super().chain(statement)
            return
        outside, self.within = self.within, statement
        self.body(statement.body)
        self.within = outside

    def call(self, statement: Call) -> None:
        """Those of stacked layers may take slices, and give what is stacked."""
        if not isinstance(statement, Stack) or not statement.more:
            super().call(statement)
            return
        given = [self.read(v) for v in statement.inputs if v is not None]
        each, rest = given[1 : statement.each + 1], given[statement.each + 1 :]
        zipped = ast.Tuple(each, ast.Load())
        layers = self.holder(statement.member)
        value = tree("{f}({x}, {e}, *{rest})", f=layers, x=given[0], e=zipped, rest=rest)
        more = len(statement.outputs) > 1
        self.define(statement.outputs, value if more else tree("{y}[0]", y=value))

    def parts(self, statement: Apply) -> Parts:
        return self.policy.cast(super().parts(self.tuples.spread(statement)))

    def weight(self, var: WeightVar) -> Expr:
        """`self.position[...]`; a layer's as the source has it: `self.linear.kernel[...].T`."""
        if var.member is None:
            return tree("{x}[...]", x=expr.parse(f"self.{self.scope.attribute(var.part)}"))
        op = self.ops[var.member.name]
        if op == "prelu" or op in recurrent.NAMES:
            raise MlcError("unsupported", f"JAX source that reads a weight of {op} by itself")
        part = VARIABLES.get(op, {}).get(var.part, var.part)
        held = tree("{x}[...]", x=expr.parse(f"{expr.show(self.holder(var.member))}.{part}"))
        view = VIEWS.get(op)
        return view(held, var) if view and var.part == "weight" else held

    def moved(self, statement: Apply) -> tuple[Var, tuple[int, ...]] | None:
        """A tensor, and the order in which one op, or two in a row, put its axes as stored."""
        order = moves(statement)
        x = statement.inputs[0] if order is not None else None
        before = self.made.get(x) if x is not None else None
        if order is None or x is None:
            return None
        first = moves(before) if before is not None and len(self.users[x]) == 1 else None
        if first is None or before is None or before.inputs[0] is None:
            return x, order
        return before.inputs[0], tuple(first[axis] for axis in order)

    def skips(self, statement: Apply) -> bool:
        users = self.users.get(statement.outputs[0], ())
        again = moves(statement) is not None and [
            u for u in users if isinstance(u, Apply) and moves(u) is not None
        ]
        return super().skips(statement) or (bool(again) and len(users) == 1)

    def spelled(self, statement: Apply) -> Expr:
        """An embedding's weight as the last layer is what NNX calls `attend`."""
        given = statement.inputs[0] if statement.inputs else None
        if isinstance(given, Whole) and given.of in self.stacked:
            return self.out.ref(given.of)
        moved = self.moved(statement)
        if moved is not None:
            return permuted(self.read(moved[0]), moved[1])
        picked = self.picked(statement)
        if picked is not None:
            order = statement.inputs[0].order  # type: ignore[union-attr]
            axes = statement.values["axes"]
            return cut(self.parts(picked), [order.index(a) for a in axes] if order else axes)
        if statement.op.name == "sdpa":
            return sdpa(self.parts(statement), not self.causal)
        if statement.op.name == "linear" and statement.inputs[2] is None:
            rows, table, _ = statement.inputs
            member = table.member if isinstance(table, WeightVar) else None
            embedded = member is not None and self.ops.get(member.name) == "embedding"
            if member is not None and embedded and not self.policy.narrow:
                assert rows is not None
                return tree("{f}.attend({x})", f=self.holder(member), x=self.read(rows))
        return self.tuples.join(super().spelled(statement), self.place)

    def control(self, statement: Apply) -> None:
        written(self, statement)

    def kept(self, var: Var) -> Expr:
        """A result; a state that is about to change is read before."""
        if not isinstance(var, WeightVar) or all(p.var is not var for p, _ in self.cls.updates):
            return self.read(var)
        old = Var(f"old_{var.part}", var.type, var.order)
        self.out.join(old)
        self.define([old], self.read(var))
        return self.out.ref(old)

    def default(self, var: Var, given: Input) -> None:
        """`if keep is None: keep = jnp.full(…)`."""
        kind = None if var.type.dtype in ("f32", "bool") else dtype(var.type.dtype)
        value = float(given.default) if var.type.floating else given.default
        made = tree(
            "jnp.full((*{shape},), {value}, dtype={dtype})",
            shape=[self.place(literal(size)) for size in var.type.shape],
            value=literal(value), dtype=kind,
        )  # fmt: skip
        out = self.out
        out.join(var)
        out.lines.append(When(tree("{x} is None", x=out.ref(var)), [Assign([var], made)], []))

    def passed_by(self, statement: If, member: Expr, given: Expr) -> Expr:
        if isinstance(member, ast.Call):  # `next(blocks)`, which may be read once
            optional = self.optional_member(statement)
            assert optional is not None and optional.member is not None
            iterators = {n for e in self.elements.values() for n in expr.names(e)}
            name = free(
                singular(optional.member.name), {*self.taken, *self.scope.locals, *iterators}
            )
            self.out.lines.append(Store(expr.name(name), member))
            member = expr.name(name)
        return tree("{f}({x}) if {f} else {x}", f=member, x=given)


class Module:
    """Prints one class; `optional` are the model's inputs that may be left out, `causal` says that
    all products of attention are, `outermost` that it is the model's; the
    classes in `bare` take no `rngs`, and it adds itself to them if it takes none."""

    def __init__(
        self,
        cls: Class,
        taken: frozenset[str],
        make: Make,
        causal: bool,
        optional: Mapping[str, Input] = {},
        facts: Sequence[Fact] = (),
        policy: Policy = PLAIN,
        *,
        outermost: bool = False,
        bare: set[str] | None = None,
    ) -> None:
        self.cls = cls
        self.bare = set() if bare is None else bare
        self.outermost = outermost
        self.policy = policy
        self.facts = facts
        self.taken = frozenset({*LOCALS, *taken})
        self.optional = optional
        self.scope = Scope(cls, ATTRIBUTES, self.taken)
        self.members = Members(cls, self.scope, make, policy, self.bare)
        self.call = Lines(cls, self.scope, self.taken, policy)
        self.call.causal = causal
        given = {*self.scope.locals.values()}
        self.arguments = {n: self.scope.locals.get(n) or free(n, {*self.taken, *given})
                          for n in cls.inputs}  # fmt: skip

    def source(self) -> str:
        """The class as text."""
        call = self._call()
        self.scope.keep(call)
        statements = [*self.members.statements()]
        made = block(statements, 2)
        read = {n.id for s in statements for n in ast.walk(s) if isinstance(n, ast.Name)}
        random = self.outermost or "rngs" in read
        if not random:
            self.bare.add(self.cls.name)
        given = ["self", *signature(self.cls, self.scope), *["*", "rngs: nnx.Rngs"] * random]
        head = docstring(describe(self.cls, facts=self.facts))
        init = f"    def __init__({', '.join(given)}) -> None:\n{made}\n\n"
        plain = len(given) == 1 and not statements
        return f"class {self.cls.name}(nnx.Module):\n    {head}\n\n{'' if plain else init}{call}"

    def _call(self) -> str:
        out = self.call.out
        names = {var: self.arguments[n] for n, var in self.cls.inputs.items()}
        for name, default in self.optional.items():
            self.call.default(self.cls.inputs[name], default)
        self.call.body(self.cls.body)
        results = [self.call.kept(var) for var in self.cls.outputs.values()]
        out.final = {out.leader(var) for var in self.cls.outputs.values()}
        values = [self.call.kept(var) for _, var in self.cls.updates]
        for (parameter, _), value in zip(self.cls.updates, values, strict=True):
            held = expr.parse(f"self.{self.scope.attribute(parameter.name)}[...]")
            out.lines.append(Store(held, self.policy.leaving(value, parameter.type.dtype)))
        if self.outermost:
            results = [
                self.policy.leaving(x, var.type.dtype)
                for x, var in zip(results, self.cls.outputs.values(), strict=True)
            ]
        single = len(results) == 1
        out.lines.append(Return(results[0] if single else ast.Tuple(results, ast.Load())))
        self.call.sizes.settle()
        body = out.finish(names, self.taken)
        arguments = [f"{name}: jax.Array" + (" | None = None" if var.name in self.optional else "")
                     for var, name in names.items()]  # fmt: skip
        kind = "jax.Array" if single else f"tuple[{', '.join(['jax.Array'] * len(results))}]"
        return f"    def __call__({', '.join(['self', *arguments])}) -> {kind}:\n{block(body, 2)}"


SCALED = "nnx.initializers.variance_scaling"


def initial(init: Init, sizes: list[Expr], kind: str, order: Sequence[int]) -> Expr:
    """The array that a weight starts as; axis i of it is axis order[i] of the source's."""
    a, b = (*map(literal, init.args), None, None)[:2]
    other = None if kind == "f32" else dtype(kind)
    shape = [sizes[axis] for axis in order]
    size = shape[0] if len(shape) == 1 else ast.Tuple(shape, ast.Load())
    fixed = {"zeros": "jnp.zeros({size}, dtype={d})", "ones": "jnp.ones({size}, dtype={d})",
             "constant": "jnp.full({size}, {a}, dtype={d})"}  # fmt: skip
    if init.kind in fixed:
        return tree(fixed[init.kind], size=size, a=a, d=other)
    size = ast.Tuple(shape, ast.Load())
    if len(shape) < 2 and init.kind in ("xavier_uniform", "kaiming_uniform"):
        terms = 3 * (init.args[0] ** 2 if init.kind == "kaiming_uniform" and init.args else 1)
        fan = tree("{n} / {d}", n=shape[0] if shape else literal(1), d=literal(terms))
        return tree("uniform({fan})(rngs.params(), {size})", fan=fan, size=size)
    fans = [literal(order.index(axis)) for axis in (1, 0)] if len(shape) > 1 else []
    drawn = {
        "normal": "nnx.initializers.normal({a})",
        "uniform": "partial(jax.random.uniform, minval={a}, maxval={b})",
        "fan_uniform": "uniform({a})",
        "xavier_uniform": f'{SCALED}(1, "fan_avg", "uniform", *{{fans}})',
        "kaiming_uniform": f'{SCALED}({{a}} ** 2, "fan_in", "uniform", *{{fans}})',
    }[init.kind]
    if init.kind == "xavier_uniform" and len(shape) == 2:
        drawn = "nnx.initializers.xavier_uniform()"
    if kind == "f32":
        return tree(f"{drawn}(rngs.params(), {{size}})", size=size, a=a, b=b, fans=fans)
    return tree(f"{drawn}(rngs.params(), {{size}}, {{d}})", size=size, a=a, b=b, d=other, fans=fans)


__all__ = ["Make", "Module"]
