"""The graph as classes: what a source backend prints.

The outline pass reads these records off a flat graph and its scopes. A `Class` is a block of the
model with its hyper-parameters; its body is a list of statements over `Var`s, whose types are
written in the class's own names (`width`, `C`), so that every number in it is an expression that
holds for each of its instances. The records are beside the graph; nothing here changes it. `site`
is where in the source a statement stands.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from .expr import Expr, integral, show
from .expr import names as names_of
from .graph import Definition, Init, Loop, Scope, Type, Weight
from .op import Op


@dataclass(eq=False, slots=True)
class Var:
    """A tensor of a class body. `name` is the source's (empty: none); sizes are in class names.

    `order` is how the layout pass stores it (None: as `type` says).
    """

    name: str
    type: Type
    order: tuple[int, ...] | None = None

    def __repr__(self) -> str:
        return f"<Var {self.name or '_'}: {self.type}>"


@dataclass(eq=False, slots=True)
class WeightVar(Var):
    """A weight read as a tensor: a `param` or `state` of the class, or a layer's (`token.weight`).

    `member` holds it (None: it is the class's own, called `part`).
    """

    member: Member | None = None
    part: str = ""


@dataclass(eq=False, slots=True)
class Element(Var):
    """One of the tensors that a loop has put in the list `of`: `skips[-1]`; where `index` is None,
    the one that the iteration of a later loop takes."""

    of: Var | None = None
    index: int | None = None


@dataclass(eq=False, slots=True)
class Whole(Var):
    """All the tensors that a loop has put in the list `of`, as operands of one op; the type is that
    of one of them."""

    of: Var = field(kw_only=True)
    loop: Repeat = field(kw_only=True)


@dataclass(frozen=True, slots=True)
class Member:
    """What a class holds under a name: a layer, a block, a chain; or an element of a list."""

    name: str
    listed: bool = False


@dataclass(eq=False, slots=True)
class Parameter:
    """A `param` (trainable) or `state` (not) line: a tensor that the class holds by itself."""

    name: str
    shape: tuple[Expr, ...]
    type: Type
    init: Init
    trainable: bool
    site: int
    var: WeightVar


Place: TypeAlias = "tuple[int, str, str]"
"""An attribute in the source: the site of its op, the op's name, and the attribute's."""


@dataclass(eq=False, slots=True)
class Apply:
    """One op. Attributes are expressions over the class's names; `values` those that are literal.

    `member` is the layer that it applies (its weights are not among `inputs`); `weights` are the
    types of that layer's weights in class names. `inputs` has a slot for each of the op's inputs
    and, where weights are given explicitly, for each of its weights. `regions` are the blocks of a
    scan, a loop or a choice on data.
    """

    op: Op
    inputs: tuple[Var | None, ...]
    outputs: tuple[Var, ...]
    attrs: Mapping[str, Expr]
    values: Mapping[str, Any]
    member: Member | None = None
    weights: Mapping[str, Type] = field(default_factory=dict)
    first: bool = True
    site: int = 0
    regions: tuple[Region, ...] = ()

    def place(self, key: str) -> Place:
        """Where the attribute `key` stands."""
        return self.site, self.op.name, key


@dataclass(eq=False, slots=True)
class Region:
    """What a statement runs again and again, or perhaps.

    `inputs` has a tensor for each that the block takes: one of its own for what is carried or gone
    through, the class's for what is only read.
    """

    inputs: tuple[Var, ...]
    outputs: tuple[Var, ...]
    body: list[Statement]


@dataclass(eq=False, slots=True)
class Call:
    """A call of another class. `args` are its hyper-parameters as the caller gives them, `sizes`
    the sizes of its inputs that it may need, all as expressions over the caller's names.
    `first` is false where the same member is called again.
    """

    cls: Class
    member: Member
    inputs: tuple[Var | None, ...]
    outputs: tuple[Var, ...]
    args: Mapping[str, Expr]
    sizes: Mapping[str, Expr]
    first: bool = True
    site: int = 0

    @property
    def given(self) -> dict[str, Expr]:
        """The hyper-parameters as code: those that are integers without exact quotients."""
        whole = {hyper.name for hyper in self.cls.params if type(hyper.value) is int}
        return {n: integral(e) if n in whole else e for n, e in self.args.items()}


@dataclass(eq=False, slots=True)
class Chain:
    """A linear branch held under one name: each stage takes only the output of the one before."""

    member: Member
    input: Var
    output: Var
    body: list[Statement]
    site: int = 0


@dataclass(eq=False, slots=True)
class Carried:
    """A tensor that a loop carries: before the loop, at the start and end of the body, after."""

    initial: Var
    current: Var
    next: Var
    result: Var


@dataclass(eq=False, slots=True)
class RunningSize:
    """A size that changes from iteration to iteration (`C = 16` … `C = width`)."""

    name: str
    start: Expr
    update: Expr | None = None


@dataclass(eq=False, slots=True)
class Repeat:
    """A loop: `for variables in table`, or `table` times where there are no variables.

    `chain` says that its members stand in one list and each takes only the former's output.
    `results` maps a tensor of the body to what it is after the last iteration. `collects` maps a
    tensor of the body to the list that each iteration puts it in; `elements` are those that each
    iteration takes from the list of an earlier loop, true for those taken from its end.
    """

    loop: Loop
    table: Expr
    variables: tuple[str, ...]
    body: list[Statement]
    carried: list[Carried]
    sizes: list[RunningSize]
    results: dict[Var, Var]
    chain: str | None = None
    site: int = 0
    collects: dict[Var, Var] = field(default_factory=dict)
    elements: dict[Element, bool] = field(default_factory=dict)


@dataclass(eq=False, slots=True)
class Phi:
    """`result = then if condition else orelse`, of the If that it belongs to."""

    result: Var
    then: Var
    orelse: Var


@dataclass(eq=False, slots=True)
class If:
    """A static condition over the class's names, both arms of which occur among its instances.

    `shares` says that a member which an arm applies is applied elsewhere as well, or again in the
    next iteration: the class has it whatever the condition says.
    """

    condition: Expr
    then: list[Statement]
    orelse: list[Statement]
    phis: list[Phi]
    site: int = 0
    shares: bool = False

    @property
    def optional(self) -> Chain | Apply | Call | None:
        """The one member that is passed by where the condition says so, if that is all it does:
        `skip = x if C == width else x -> conv(width, 1)`."""
        arms = (self.then, self.orelse)
        if self.shares or len(self.phis) != 1 or sorted(len(arm) for arm in arms) != [0, 1]:
            return None
        phi, (only,) = self.phis[0], self.then or self.orelse
        passed, taken = (phi.orelse, phi.then) if self.then else (phi.then, phi.orelse)
        match only:
            case Chain(input=given, output=made):
                return only if given is passed and made is taken else None
            case Apply(member=Member()) | Call():
                data = [v for v in only.inputs if v is not None]
                fits = len(data) == 1 and data[0] is passed and only.outputs[0] is taken
                return only if fits else None
        return None

    @property
    def common(self) -> Call | None:
        """What both arms do, if that is all: call a member of one name with the same tensors."""
        made = [*self.then, *self.orelse]
        calls = [s for s in made if isinstance(s, Call)]
        if len(self.then) != 1 or len(made) != 2 or len(calls) != 2:
            return None
        one, other = calls
        alike = one.member == other.member and one.inputs == other.inputs
        phis = [(phi.then, phi.orelse) for phi in self.phis]
        return one if alike and phis == [*zip(one.outputs, other.outputs, strict=False)] else None


Statement: TypeAlias = "Apply | Call | Chain | Repeat | If"


@dataclass(eq=False, slots=True)
class Hyper:
    """A hyper-parameter: its name, its default (None: must be given), and a sample value."""

    name: str
    default: Expr | None
    value: Any


@dataclass(eq=False, slots=True)
class Check:
    """A condition over the class's names that must hold, and what to say where it does not."""

    condition: Expr
    message: str


@dataclass(eq=False, slots=True)
class Class:
    """A block or the model. `scopes` are its instances.

    params      hyper-parameters that the body uses, in source order
    sizes       name of a size -> (input, axis) that it is read from
    inputs, outputs   by name, in source order
    parameters  tensors of its own
    chosen      opaque names in types, and what they stand for
    init_names  names that constructing its members uses; call_names those that its computation uses
    """

    name: str
    definition: Definition
    params: list[Hyper]
    sizes: dict[str, tuple[str, int]]
    inputs: dict[str, Var]
    outputs: dict[str, Var]
    body: list[Statement]
    parameters: list[Parameter]
    checks: list[Check]
    scopes: list[Scope]
    updates: list[tuple[Parameter, Var]]
    init_names: set[str] = field(default_factory=set)
    call_names: set[str] = field(default_factory=set)
    chosen: Mapping[str, Expr] = field(default_factory=dict)

    @property
    def doc(self) -> str:
        return self.definition.doc

    @property
    def needs(self) -> list[str]:
        """The sizes that its constructor must be told, since it sees no tensor."""
        return [name for name in self.sizes if name in self.init_names]


@dataclass(eq=False, slots=True)
class Program:
    """All classes, those that others call first; the model is the last."""

    classes: list[Class]
    weights: dict[Weight, tuple[tuple[str, int | None], ...]]

    @property
    def model(self) -> Class:
        return self.classes[-1]


def walk(body: Sequence[Statement]) -> Iterator[Statement]:
    """All statements, those of nested bodies after the one that holds them."""
    for statement in body:
        yield statement
        match statement:
            case Apply(regions=regions):
                for region in regions:
                    yield from walk(region.body)
            case Chain() | Repeat():
                yield from walk(statement.body)
            case If():
                yield from walk(statement.then)
                yield from walk(statement.orelse)


def shared(body: Iterable[Statement]) -> set[str]:
    """The members, not of lists, that are there whatever a static if says in an arm of which they
    are used: they are used outside of it too, or by more than one iteration; by their names."""
    seen: dict[str, list[Arms]] = {}
    nowhere: Arms = {}
    for statement, arms, outside in _placed(body, nowhere, nowhere):
        for name in used(statement):
            seen.setdefault(name, []).extend([arms, outside])
    return {
        name for name, uses in seen.items()
        for one in uses for other in uses
        if one.keys() - other.keys() and all(other.get(c, arm) == arm for c, arm in one.items())
    }  # fmt: skip


Arms: TypeAlias = Mapping[str, bool]
"""The conditions of static ifs, and whether they hold."""


def _placed(
    body: Iterable[Statement], arms: Arms, outside: Arms
) -> Iterator[tuple[Statement, Arms, Arms]]:
    """All statements, those of linear branches aside, each with the arms in which it stands, and
    those in which the outermost loop around it stands."""
    for statement in body:
        yield statement, arms, outside
        match statement:
            case Repeat(body=inner):
                yield from _placed(inner, {**arms}, outside)
            case If(then=then, orelse=orelse):
                condition = show(statement.condition)
                looped = arms is not outside
                for arm, inner in ((True, then), (False, orelse)):
                    within = {**arms, condition: arm}
                    yield from _placed(inner, within, outside if looped else within)


def used(statement: Statement) -> set[str]:
    """The members, not of lists, that a statement itself applies or reads a weight of."""
    match statement:
        case Apply(member=member, inputs=inputs):
            read = [v.member for v in inputs if isinstance(v, WeightVar)]
            return {m.name for m in (member, *read) if m is not None and not m.listed}
        case Call(member=member) | Chain(member=member):
            return set() if member.listed else {member.name}
    return set()


def followed(body: Iterable[Statement], names: Set[str]) -> set[str]:
    """`names`, and what the sizes among them that change in loops of `body` are computed from."""
    found = set(names)
    sizes = [size for s in body if isinstance(s, Repeat) for size in s.sizes]
    before = -1
    while len(found) > before:
        before = len(found)
        for size in sizes:
            if size.name in found:
                found |= names_of(size.start) | names_of(size.update or size.start)
    return found


def outputs(statement: Statement) -> tuple[Var, ...]:
    """The tensors that a statement makes for those behind it."""
    match statement:
        case Apply(outputs=made) | Call(outputs=made):
            return made
        case Chain(output=output):
            return (output,)
        case Repeat(carried=carried, results=results):
            return (*(c.result for c in carried), *results.values())
        case If(phis=phis):
            return tuple(phi.result for phi in phis)


def taken(statement: Statement) -> list[Var]:
    """The tensors that a statement itself takes, not those that its bodies do."""
    match statement:
        case Apply(op=op, inputs=inputs, member=member, regions=regions):
            results = [v for region in regions for v in region.outputs]
            # A layer holds its buffers itself, also as an earlier call has left them.
            data = inputs[: len(op.inputs)] if member and op.effect == "state" else inputs
            return [v for v in data if v is not None] + results
        case Call(inputs=inputs):
            return [v for v in inputs if v is not None]
        case Chain(input=first):
            return [first]
        case If(phis=phis):
            return [v for phi in phis for v in (phi.then, phi.orelse)]
        case Repeat(carried=carried, results=results):
            return [v for c in carried for v in (c.initial, c.next)] + list(results)
    raise AssertionError(statement)
