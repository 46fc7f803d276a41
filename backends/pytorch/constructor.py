"""The constructor of an emitted `nn.Module`: its layers, blocks, lists and tensors."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

from ...compiler import expr
from ...compiler.expr import Expr, literal
from ...compiler.init import fans
from ...compiler.program import Apply, Call, Chain, Class, If, Member, Parameter, Repeat, Statement
from ..source.constructor import Constructor
from ..source.names import snake
from ..source.parts import Parts, Rule, spell
from ..source.scope import Scope
from ..source.tree import tree
from .attention import Attention
from .dtypes import dtype
from .layers import LAYERS, MODULES, around


class Members(Constructor):
    """The statements of `__init__`."""

    absent: ClassVar[Expr] = tree("nn.Identity()")
    lists: ClassVar[str] = "nn.ModuleList"

    def __init__(self, cls: Class, scope: Scope, attention: Attention | None) -> None:
        super().__init__(cls, scope)
        self.layers: Mapping[str, Rule] = LAYERS
        if attention is not None:
            self.layers = {**LAYERS, "attention": attention.made}

    def layer(self, apply: Apply) -> Expr:
        return spell(self.layers if _owns(apply) else MODULES, self._parts(apply), "pytorch")

    def _parts(self, apply: Apply) -> Parts:
        return Parts(apply, lambda _: expr.name("x"), self.scope.init)

    def container(self, loop: Repeat) -> str:
        return "nn.Sequential" if loop.chain else self.lists

    def repeated(self, made: Expr, loop: Repeat) -> Expr:
        each = self.comprehension(made, loop)
        template = "nn.Sequential(*{xs})" if loop.chain else f"{self.lists}({{xs}})"
        if not loop.chain:
            return tree(template, xs=ast.ListComp(each.elt, each.generators))
        call = tree(template, xs=[])
        assert isinstance(call, ast.Call)
        call.args = [ast.Starred(ast.ListComp(each.elt, each.generators), ast.Load())]
        return call

    def sequence(self, stages: Sequence[Expr]) -> Expr:
        return tree("nn.Sequential(*{stages})", stages=stages)

    def optional(self, condition: Expr, name: str, made: list[ast.stmt]) -> Iterator[ast.stmt]:
        yield _module(name, self.absent)
        yield ast.If(condition, made, [])

    def optional_member(self, statement: If) -> Chain | Apply | Call | None:
        return stage_of(statement)

    # ------------------------------------------------------------------------- linear branches

    def made(self, statement: Statement) -> Expr:
        return self._chain(statement) if isinstance(statement, Chain) else super().made(statement)

    def _chain(self, chain: Chain) -> Expr:
        if not sequential(chain):
            kept = [s for s in chain.body if _owns(s)]
            names = [_numbered(s) for s in kept]
            pairs = ast.Dict([literal(n) for n in names], [self.made(s) for s in kept])
            return tree("nn.ModuleDict({pairs})", pairs=pairs)
        stages = list(self._stages(chain))
        if [name for name, _ in stages] == [str(i) for i in range(len(stages))]:
            return self.sequence([made for _, made in stages])
        items = [ast.Tuple([literal(name), made], ast.Load()) for name, made in stages]
        return tree("nn.Sequential(OrderedDict([*{xs}]))", xs=items)

    def _stages(self, chain: Chain) -> Iterator[tuple[str, Expr]]:
        """The modules by name: numbers, as long as nothing has been put in between."""
        taken = {_numbered(s) for s in chain.body if _owns(s)}
        place = 0
        for statement in chain.body:
            before, after = around(self._parts(statement)) if isinstance(statement, Apply) else (
                None, None)  # fmt: skip
            own = _numbered(statement) if _owns(statement) else ""
            for module, name in ((before, ""), (self.made(statement), own), (after, "")):
                if module is not None:
                    yield name or (str(place) if str(place) not in taken else _kind(module)), module
                    place += 1

    # ------------------------------------------------------------------------------- tensors

    def parameter(self, parameter: Parameter, shape: list[Expr]) -> ast.stmt:
        start = initial(parameter, shape)
        name = self.scope.attribute(parameter.name)
        if parameter.trainable:
            return self.set(name, tree("nn.Parameter({start})", start=start))
        call = tree("self.register_buffer({name}, {start})", name=literal(name), start=start)
        return ast.Expr(call)

    # --------------------------------------------------------------------------------- choices

    def _if(self, statement: If) -> Iterator[ast.stmt]:
        for made in super()._if(statement):
            if isinstance(made, ast.If):
                _annotate(made)
            yield made


def _owns(statement: Statement) -> bool:
    """Whether a stage has a name of its own: it holds weights, or a mode."""
    match statement:
        case Apply(member=Member()) | Call():
            return True
    return False


def _numbered(statement: Statement) -> str:
    assert isinstance(statement, (Apply, Call))
    assert statement.member is not None
    return statement.member.name


def _kind(module: Expr) -> str:
    """`nn.ConstantPad1d(…)` as `constant_pad1d`."""
    assert isinstance(module, ast.Call)
    return snake(expr.show(module.func).rsplit(".", 1)[-1])


def sequential(chain: Chain) -> bool:
    """Whether every stage can be a module, each taking only what the one before gives."""
    given = chain.input
    for statement in chain.body:
        if not isinstance(statement, (Apply, Call)):
            return False
        if isinstance(statement, Apply) and not (_owns(statement) or statement.op.name in MODULES):
            return False
        if [v for v in statement.inputs if v is not None] != [given]:
            return False
        given = statement.outputs[0]
    return given is chain.output


def stage_of(statement: If) -> Chain | Apply | Call | None:
    """The member that an If passes by, if that is all it does and the member is one module."""
    found = statement.optional
    return None if isinstance(found, Chain) and not sequential(found) else found


def _module(name: str, value: Expr) -> ast.stmt:
    """`self.skip: nn.Module = …`, where what it holds depends on a condition."""
    target = expr.parse(f"self.{name}")
    assert isinstance(target, ast.Attribute)
    return ast.AnnAssign(target, expr.parse("nn.Module"), value, 0)


def _annotate(choice: ast.If) -> None:
    """Says that a member is a module, where both arms make one."""
    other = {expr.show(s.targets[0]) for s in choice.orelse if isinstance(s, ast.Assign)}
    for i, statement in enumerate(choice.body):
        if isinstance(statement, ast.Assign) and expr.show(statement.targets[0]) in other:
            name = expr.show(statement.targets[0]).removeprefix("self.")
            made = expr.show(statement.value)
            if made.startswith(("nn.Parameter", "torch.")) or not made[0].isalpha():
                continue
            choice.body[i] = _module(name, statement.value)


# ------------------------------------------------------------------------------- starting values


def initial(parameter: Parameter, shape: list[Expr]) -> Expr:
    """The tensor that a weight starts as."""
    init, kind = parameter.init, parameter.type.dtype
    a, b = (*map(literal, init.args), None, None)[:2]
    other = None if kind == "f32" else dtype(kind)
    fixed = {
        "zeros": "torch.zeros(*{shape}, dtype={d})",
        "ones": "torch.ones(*{shape}, dtype={d})",
        "constant": "torch.full({size}, {a}, dtype={d})",
    }
    size = ast.Tuple(shape, ast.Load())
    if init.kind in fixed:
        return tree(fixed[init.kind], shape=shape or [size], size=size, a=a, d=other)
    empty = tree("torch.empty(*{shape}, dtype={d})", shape=shape or [size], d=other)
    if init.kind == "normal":
        return tree("{x}.normal_(std={a})", x=empty, a=a)
    if init.kind == "uniform":
        return tree("{x}.uniform_({a}, {b})", x=empty, a=a, b=b)
    return _by_fan(parameter, empty)


def _by_fan(parameter: Parameter, empty: Expr) -> Expr:
    """A uniform distribution whose width depends on the shape."""
    kind, args = parameter.init.kind, parameter.init.args
    known = [size for size in parameter.type.shape if isinstance(size, int)]
    if kind == "fan_uniform" and args:
        return tree("{x}.uniform_(-({n} ** -0.5), {n} ** -0.5)", x=empty, n=literal(int(args[0])))
    if len(parameter.type.shape) < 2:
        inputs, outputs = fans(tuple(known))
        gain = {"xavier_uniform": 6 / (inputs + outputs), "fan_uniform": 1 / inputs,
                "kaiming_uniform": 3 * (args[0] if args else 1.0) ** 2 / inputs}[kind]  # fmt: skip
        bound = literal(gain**0.5)
        return tree("{x}.uniform_(-{b}, {b})", x=empty, b=bound)
    if kind == "xavier_uniform":
        return tree("nn.init.xavier_uniform_({x})", x=empty)
    if kind == "fan_uniform":
        return tree("nn.init.kaiming_uniform_({x}, a=5 ** 0.5)", x=empty)
    drawn = tree('nn.init.kaiming_uniform_({x}, nonlinearity="linear")', x=empty)
    if not args or args[0] == 1:
        return drawn
    return tree("{x}.mul_({gain})", x=drawn, gain=literal(args[0]))
