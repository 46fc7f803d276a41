"""The function that makes the parameters of a block, and its state."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar, TypeAlias

from ....compiler import expr
from ....compiler.expr import Expr, literal
from ....compiler.ops.shape import product
from ....compiler.program import (
    Apply,
    Call,
    Chain,
    Class,
    If,
    Parameter,
    Repeat,
    Statement,
    Var,
)  # fmt: skip
from ...source.constructor import Constructor, arguments, listed
from ...source.module import block
from ...source.names import free
from ...source.parts import Parts
from ...source.scope import Scope, signature
from ...source.tree import is_literal, tree
from ..printer import initial
from ..stacks import Stack
from ..starts import size
from ..tuples import Tuples
from ..windows import each, elements, spatial
from .needs import Known, Needs, names
from .polish import gathered, keyed, read
from .spelling import plain

NEXT = "next(keys)"

Helpers: TypeAlias = "Mapping[str, str]"
"""What the file's functions that start layers are called, by their usual names."""


class Start(Constructor):
    """The statements that fill `params` and `state`; members that hold nothing are left out."""

    lists: ClassVar[str] = "list"

    def __init__(
        self,
        cls: Class,
        scope: Scope,
        known: Known,
        functions: Mapping[str, str],
        helpers: Mapping[str, str],
    ) -> None:
        self.known = known
        self.held = names(known, cls.body)
        super().__init__(replace(cls, body=[*self._pruned(cls.body)]), scope)
        self.tuples = Tuples(cls)
        self.functions = functions
        self.helpers = helpers
        scope.kept = {}
        self.stateful = {scope.attribute(n) for n, each in self.held.items() if each.state}
        self.keys = {scope.attribute(n): n for n in self.held}
        self.keys |= {scope.attribute(p.name): p.name for p in cls.parameters}
        self.fixed = {scope.attribute(p.name) for p in cls.parameters if not p.trainable}

    def _pruned(self, body: Sequence[Statement]) -> Iterator[Statement]:
        """The statements that make something, in the shapes that the constructor knows."""
        for statement in body:
            match statement:
                case Apply(regions=[_, *_] as regions):
                    for region in regions:
                        yield from self._pruned(region.body)
                case Apply(member=member) | Call(member=member):
                    if member is not None and member.name in self.held:
                        yield statement
                case Chain(member=member, body=stages):
                    if member.name in self.held:
                        yield replace(statement, body=[s for s in stages if self.known.holds(s)])
                case Repeat(body=inner):
                    if kept := [*self._pruned(inner)]:
                        yield replace(statement, body=kept)
                case If(then=then, orelse=orelse):
                    arms = [*self._pruned(then)], [*self._pruned(orelse)]
                    if arms[0] or arms[1]:
                        yield replace(statement, then=arms[0], orelse=arms[1], phis=[])

    # ------------------------------------------------------------------------------ members

    def made(self, statement: Statement) -> Expr:
        """A member; in a list of members with states, with its state."""
        if isinstance(statement, Chain):
            return self._branch(statement)
        if isinstance(statement, Stack):
            return self._stack(statement)
        value = super().made(statement) if self.known.holds(statement) else _EMPTY
        member = statement.member if isinstance(statement, (Apply, Call)) else None
        beside = member is not None and self.scope.attribute(member.name) in self.stateful
        return self._beside(value, statement) if beside else value

    def _stack(self, statement: Stack) -> Expr:
        """`stacked(lambda key: init_layer(key, heads), next(keys), layers)`."""
        needs = self.known[statement.cls]
        key = expr.name(free("key", self.scope.locals.values()))
        made = self._start(statement, [key] if needs.start else [])
        if self.scope.attribute(statement.member.name) in self.stateful:
            made = self._beside(made, statement)
        count = self.scope.init(statement.count)
        value = tree(
            f"stacked(lambda {expr.show(key) if needs.start else '_'}: {{y}}, {NEXT}, {{n}})",
            y=made, n=count,
        )  # fmt: skip
        if not statement.empty:
            return value
        several = isinstance(made, ast.Tuple) or needs.state
        none = ast.Tuple([_EMPTY, _EMPTY], ast.Load()) if several else _EMPTY
        return tree("{y} if {n} else {e}", y=value, n=count, e=none)

    def _branch(self, chain: Chain) -> Expr:
        made = [super(Start, self).made(stage) for stage in chain.body]
        if not self.known.of(chain).state:
            return ast.List(made, ast.Load())
        pairs = [self._beside(x, stage) for x, stage in zip(made, chain.body, strict=True)]
        return tree("unzip([*{xs}])", xs=pairs)

    def _beside(self, value: Expr, statement: Statement) -> Expr:
        """The parameters with the state, which may be none."""
        state = self.known.of(statement).state
        return value if state else ast.Tuple([value, _EMPTY], ast.Load())

    def layer(self, apply: Apply) -> Expr:
        parts = Parts(self.tuples.spread(apply), _hole, self.scope.init)
        return plain(self.tuples.join(STARTS[apply.op.name](parts, self.helpers), self.scope.init))

    def sequence(self, stages: Sequence[Expr]) -> Expr:
        return ast.List([*stages], ast.Load())

    def _call(self, statement: Call) -> Expr:
        """The call of another block's function, with what that reads."""
        return self._start(statement, [tree(NEXT)] if self.known[statement.cls].start else [])

    def _start(self, statement: Call, key: list[Expr]) -> Expr:
        needs = self.known[statement.cls]
        read = [p for p in statement.cls.params if p.name in needs.made]
        cls = replace(statement.cls, params=read)
        sizes = [self.scope.init(statement.sizes[n]) for n in cls.needs if n in needs.made]
        given = {n: self.scope.init(e) for n, e in statement.given.items() if n in needs.made}
        positional, keywords = arguments(cls, given)
        for keyword in keywords:
            keyword.arg = needs.made[keyword.arg or ""]
        function = expr.name(self.functions[cls.name])
        return ast.Call(function, [*key, *sizes, *positional], keywords)

    def parameter(self, parameter: Parameter, shape: list[Expr]) -> ast.stmt:
        order = parameter.var.order or tuple(range(len(shape)))
        start = initial(parameter.init, shape, parameter.type.dtype, order)
        return self.set(self.scope.attribute(parameter.name), plain(start))

    # ------------------------------------------------------------------------------- places

    def set(self, attribute: str, value: Expr) -> ast.stmt:
        key = literal(self.keys[attribute])
        params, state = (tree("{t}[{k}]", t=expr.name(t), k=key) for t in ("params", "state"))
        target: Expr = state if attribute in self.fixed else params
        if attribute in self.stateful:
            target = ast.Tuple([params, state], ast.Store())
        return ast.Assign([target], value)

    def optional(self, condition: Expr, name: str, made: list[ast.stmt]) -> Iterator[ast.stmt]:
        del name
        yield ast.If(condition, made, [])

    def gap(self, attribute: str) -> Expr:
        return literal((None, None) if attribute in self.stateful else None)

    def repeated(self, made: Expr, loop: Repeat) -> Expr:
        each = self.comprehension(made, loop)
        found = ast.ListComp(each.elt, each.generators)
        stateful = self.scope.attribute(listed(loop)[0]) in self.stateful
        return tree("unzip({xs})", xs=found) if stateful else found

    def _loop(self, loop: Repeat) -> Iterator[ast.stmt]:
        """Members with states are collected in a list of the function's, and then parted."""
        own = {a: free(a, self.scope.locals.values()) for a in self.stateful}
        filled = []
        for statement in super()._loop(loop):
            match statement:
                case ast.Assign(value=ast.Call(func=ast.Name(id="list")), targets=[target]):
                    name = target.elts[0] if isinstance(target, ast.Tuple) else target
                    empty = ast.List([], ast.Load())
                    attribute = self._attribute(name)
                    if attribute in own:
                        filled.append(attribute)
                        name = expr.name(own[attribute])
                    yield ast.Assign([name], empty)
                case _:
                    yield _Lists(own, self.keys).visit(statement)
        for attribute in filled:
            yield self.set(attribute, tree("unzip({xs})", xs=expr.name(own[attribute])))

    def _attribute(self, place: Expr) -> str:
        """What `set` has made `params["blocks"]` of."""
        assert isinstance(place, ast.Subscript)
        assert isinstance(place.slice, ast.Constant)
        return self.scope.attribute(str(place.slice.value))

    def source(self, name: str, head: str, model: bool, needs: Needs) -> str:
        """The function as text; notes in `needs` what it reads."""
        checks, made = _parted(self.statements())
        used = read([*checks, *made])
        names = (*self.cls.needs, *(p.name for p in self.cls.params))
        needs.made = {n: at for n in names if (at := self.scope.locals[n]) in used}
        given = [a for a in signature(self.cls, self.scope) if a.partition(":")[0] in used]
        key = ["key: jax.Array"] if needs.start or model else []
        arguments = [*key, *(["*"] if model and given else []), *given]
        body = block([*checks, *keyed(_returned(made, needs.state))], 1)
        kind = "tuple[Params, State]" if needs.state else "Params"
        return f"def {name}({', '.join(arguments)}) -> {kind}:\n    {head}\n{body}\n"


_EMPTY: Expr = ast.Dict([], [])


def _hole(var: Var) -> Expr:
    del var
    return expr.name("x")


class _Lists(ast.NodeTransformer):
    """`self.blocks.append` as `blocks.append` or `params["blocks"].append`."""

    def __init__(self, own: Mapping[str, str], keys: Mapping[str, str]) -> None:
        self.own, self.keys = own, keys

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        node.value = self.visit(node.value)
        if not (isinstance(node.value, ast.Name) and node.value.id == "self"):
            return node
        if node.attr in self.own:
            return expr.name(self.own[node.attr])
        return tree("params[{k}]", k=literal(self.keys[node.attr]))


def _parted(statements: Iterable[ast.stmt]) -> tuple[list[ast.stmt], list[ast.stmt]]:
    """Conditions that raise, and the rest."""
    found: tuple[list[ast.stmt], list[ast.stmt]] = ([], [])
    for statement in statements:
        check = isinstance(statement, ast.If) and isinstance(statement.body[0], ast.Raise)
        found[not check].append(statement)
    return found


def _returned(made: list[ast.stmt], state: bool) -> list[ast.stmt]:
    """With dictionaries at the start, and what is returned at the end."""
    names = ["params", "state"] if state else ["params"]
    found = gathered(made, names)
    values: list[Expr] = [expr.name(n) for n in names]
    if len(found) == len(names):
        values = [s.value for s in found if isinstance(s, ast.AnnAssign) and s.value]
        found = []
    returned = values[0] if len(values) == 1 else ast.Tuple(values, ast.Load())
    return [*found, ast.Return(returned)]


# ------------------------------------------------------------------------------------- layers


def _shape(p: Parts) -> list[Expr]:
    """A kernel's: (*window, in / groups, out), or (*window, out, in) of a transposed one."""
    sizes = p.apply.weights["weight"].shape
    if p.op.name == "linear":
        return [size(p, -1), p["features"]]
    window = elements(each(p["kernel"], spatial(p.x.type)))
    inner, outer = (p.place(literal(sizes[axis])) for axis in (1, 0))
    if p.op.name == "conv_transpose" and not is_literal(p["groups"], 1):
        return [*window, tree("{n} // {g}", n=outer, g=p["groups"]), p["features"]]
    return [*window, inner, outer]


def _affine(p: Parts, helpers: Helpers) -> Expr:
    function = helpers["init_affine" if "bias" in p.apply.weights else "init_kernel"]
    return tree(f"{function}({NEXT}, (*{{shape}},))", shape=_shape(p))


def _conv_transpose(p: Parts, helpers: Helpers) -> Expr:
    del helpers
    fan = p.place(literal(product(p.apply.weights["weight"].shape[1:])))
    drawn = "uniform(next(keys), (*{shape},), {fan})"
    bias = ', "bias": uniform(next(keys), ({features},), {fan})'
    made = f'{{"kernel": {drawn}{bias if "bias" in p.apply.weights else ""}}}'
    return p.fill(made, shape=_shape(p), fan=fan)


def _norm(p: Parts, helpers: Helpers) -> Expr:
    features = size(p, 1 if p.op.name in CHANNELS and p.x.type.rank > 1 else -1)
    parts = {"weight": "scale", "bias": "bias"}
    held = [name for part, name in parts.items() if part in p.apply.weights]
    if len(held) == 2:
        function = helpers["init_batch_norm" if p.op.name == "batch_norm" else "init_norm"]
        return tree(f"{function}({{n}})", n=features)
    values = {"scale": "jnp.ones({n})", "bias": "jnp.zeros({n})"}
    made = "{" + ", ".join(f'"{name}": {values[name]}' for name in held) + "}"
    if p.op.name == "batch_norm":
        made = f'({made}, {{"mean": jnp.zeros({{n}}), "var": jnp.ones({{n}})}})'
    return tree(made, n=features)


def _embedding(p: Parts, helpers: Helpers) -> Expr:
    del helpers
    return p.fill('{"embedding": jax.random.normal(next(keys), ({count}, {width}))}')


def _prelu(p: Parts, helpers: Helpers) -> Expr:
    del helpers
    features = size(p, 1) if p.fixed("per_channel") else literal(1)
    return tree('{"weight": jnp.full({n}, 0.25)}', n=features)


def _attention(p: Parts, helpers: Helpers) -> Expr:
    context = p.var("context")
    crossed = context is not None and context.type.shape[-1] != p.x.type.shape[-1]
    biased = any(part.endswith("bias") for part in p.apply.weights)
    function = helpers["init_attention" if biased else "init_attention_kernels"]
    return tree(
        f"{function}({NEXT}, {{heads}}, {{width}}, {{source}})",
        heads=p["heads"], width=size(p, -1),
        source=p.place(literal(context.type.shape[-1])) if crossed and context else None,
    )  # fmt: skip


CHANNELS = frozenset({"batch_norm", "group_norm", "instance_norm"})

STARTS: Mapping[str, Callable[[Parts, Helpers], Expr]] = {
    "linear": _affine, "conv": _affine, "conv_transpose": _conv_transpose,
    "embedding": _embedding,
    **dict.fromkeys(("batch_norm", "layer_norm", "rms_norm", "group_norm", "instance_norm"), _norm),
    "prelu": _prelu, "attention": _attention,
}  # fmt: skip
"""What a layer starts as, by its op: its parameters, of `batch_norm` with its state."""
