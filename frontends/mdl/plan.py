"""Names of members, decided for a definition before anything of it is elaborated.

What a pipe constructs is named after its op (`conv`, or `conv1`, `conv2` where there are several);
what is held, or follows `as`, has the name that the source gives it; loops make lists. Both arms of
an `if` and the bodies of loops count, so that all instances of a definition have the same names.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ...compiler.diagnose import MlcError, Note, Span
from ...compiler.op import Op
from . import syntax as s
from .sites import assigned, number


@dataclass(frozen=True, slots=True)
class Member:
    """The name of what one site constructs.

    `loop` is the site of the innermost loop around it, whose iteration is the index (None: no
    list); with `running` the index is instead the count of all that was put in the list.
    """

    name: str
    loop: int | None = None
    running: bool = False


@dataclass(slots=True)
class Plan:
    """By site: members, list names of loops, and names of the conditionals that are chains."""

    members: dict[int, Member] = field(default_factory=dict)
    loops: dict[int, str] = field(default_factory=dict)
    chains: set[int] = field(default_factory=set)


@dataclass(eq=False, slots=True)
class _Entry:
    """One member before it has its name: a site, or all sites of a chain loop.

    Noise, which no class holds, is named like a `member` and is none.
    """

    sites: tuple[int, ...]
    base: str
    span: Span
    explicit: bool = False
    block: bool = False
    listed: bool = False
    loops: tuple[int, ...] = ()
    arms: tuple[tuple[int, int], ...] = ()
    member: bool = True


def snake(name: str) -> str:
    """`TinyResNet` as `tiny_res_net`, `GPTBlock` as `gpt_block`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def make_plan(
    definition: s.DefinitionSyntax, blocks: Mapping[str, object], ops: Mapping[str, Op]
) -> Plan:
    """Numbers the sites of a definition and names its members."""
    number(definition)
    return _Planner(definition, blocks, ops).plan


class _Planner:
    def __init__(
        self,
        definition: s.DefinitionSyntax,
        blocks: Mapping[str, object],
        ops: Mapping[str, Op],
    ) -> None:
        self.blocks, self.ops = blocks, ops
        self.parameters = {p.name for p in definition.parameters}
        self.locals = self.parameters | assigned(definition.body)
        self.tensors: set[str] = set()
        self.held: set[str] = set()
        self.aliases: set[str] = set()
        self.plan = Plan()
        self.entries: list[_Entry] = []
        for _ in range(2):
            self._kinds(definition.body)
        self._collect(definition.body, (), ())
        self._name_loops(definition.body)
        self._name_members()

    # ----------------------------------------------------------------- what names stand for

    def _kinds(self, body: tuple[s.Syntax, ...]) -> None:
        """Finds which names hold tensors, and which hold layers or blocks."""
        for statement in body:
            match statement:
                case s.In(name) | s.Param(name) | s.Noise(name):
                    self.tensors.add(name)
                case s.Blocks(targets, _, regions):
                    self.tensors |= set(targets)
                    for region in regions:
                        self._kinds(region.body)
                case s.Assign(targets, value):
                    if self._is_block(value):
                        self.aliases |= set(targets)
                    elif self._is_tensor(value):
                        self.tensors |= set(targets)
                    elif self._is_construction(value):
                        self.held |= set(targets)
                case s.Grow(name, value):
                    self.tensors |= {name} if self._is_tensor(value) else set()
                case s.If(_, yes, no):
                    self._kinds(yes + no)
                case s.While(_, _, inner):
                    self._kinds(inner)
                case s.Scan(targets, _, _, inner):
                    self.tensors |= set(targets)
                    self._kinds(inner)
                case s.Loop(targets, table, inner):
                    self.tensors |= set(targets) if self._is_tensor(table) else set()
                    self._kinds(inner)

    def _is_tensor(self, node: s.Syntax) -> bool:
        """Whether an expression is, or holds, a tensor, as far as can be seen from here."""
        match node:
            case s.Name(id):
                return id in self.tensors
            case s.Pipe() | s.Attribute():
                return True
            case s.Call(s.Name(id), arguments):
                applied = id in self.held and id not in self.tensors
                return id != "len" and (applied or any(self._is_tensor(a) for a in arguments))
            case s.Call(_, arguments):
                return True
            case s.Literal():
                return False
        return any(self._is_tensor(child) for child in node.children())

    def _is_block(self, node: s.Syntax) -> bool:
        """`Basic if deep else Bottleneck`: another name of one of several blocks."""
        match node:
            case s.Name(id):
                return id in self.blocks and id not in self.locals
            case s.Conditional(body, _, other):
                return self._is_block(body) and self._is_block(other)
        return False

    def _kind(self, name: str) -> str:
        """What a callee of this name constructs: "block", "layer", "local" or nothing."""
        if name in self.held and name not in self.tensors:
            return ""
        if name in self.aliases:
            return "block"
        if name in self.blocks:
            return "block"
        if name in self.ops:
            return "layer" if self.ops[name].layer else ""
        return "local" if name in self.locals - self.tensors else ""

    def _is_construction(self, node: s.Syntax) -> bool:
        return isinstance(node, s.Call) and bool(_callee(node)) and bool(self._kind(_callee(node)))

    # -------------------------------------------------------------------- finding the sites

    def _collect(
        self,
        body: tuple[s.Syntax, ...],
        loops: tuple[int, ...],
        arms: tuple[tuple[int, int], ...],
    ) -> None:
        for statement in body:
            match statement:
                case s.Loop(table=table, body=inner, site=site):
                    if self._variable(statement):
                        self._chain_loop(statement, loops, arms)
                    else:
                        self._expressions(table, loops, arms)
                        self._collect(inner, (*loops, site), arms)
                case s.While(condition, _, inner):
                    self._expressions(condition, loops, arms)
                    self._collect(inner, loops, arms)
                case s.Scan(_, tables, _, inner):
                    for table in tables:
                        self._expressions(table, loops, arms)
                    self._collect(inner, loops, arms)
                case s.If(test, yes, no, site=site):
                    self._expressions(test, loops, arms)
                    self._collect(yes, loops, (*arms, (site, 0)))
                    self._collect(no, loops, (*arms, (site, 1)))
                case s.Param(name) | s.Noise(name):
                    self._add(statement, name, loops, arms, explicit=True)
                case s.Assign((target,), s.Conditional() as value) if self._is_chain(value):
                    self.plan.chains.add(value.site)
                    self._add(value, target, loops, arms, explicit=True)
                case s.Assign((target,), s.Call() as value) if self._holds(value):
                    self._add(value, target, loops, arms, explicit=True)
                case _:
                    self._expressions(statement, loops, arms)

    def _holds(self, node: s.Call) -> bool:
        return self._is_construction(node) and not any(map(self._is_tensor, node.arguments))

    def _expressions(
        self, node: s.Syntax, loops: tuple[int, ...], arms: tuple[tuple[int, int], ...]
    ) -> None:
        """The constructions within an expression, innermost first."""
        if isinstance(node, s.Conditional):
            self._expressions(node.test, loops, arms)
            self._expressions(node.body, loops, (*arms, (node.site, 0)))
            self._expressions(node.other, loops, (*arms, (node.site, 1)))
            return
        for child in node.children():
            self._expressions(child, loops, arms)
        if isinstance(node, (s.Call, s.Stage)):
            label = node.label if isinstance(node, s.Stage) else None
            if label or self._kind(_callee(node)):
                base = label or snake(_callee(node))
                self._add(node, base, loops, arms, explicit=bool(label))

    def _add(
        self,
        node: s.Syntax,
        base: str,
        loops: tuple[int, ...],
        arms: tuple[tuple[int, int], ...],
        *,
        explicit: bool = False,
    ) -> None:
        block = isinstance(node, (s.Call, s.Stage)) and self._kind(_callee(node)) == "block"
        member = not isinstance(node, s.Noise)
        self.entries.append(
            _Entry((node.site,), base, node.span, explicit, block, False, loops, arms, member)
        )

    def _is_chain(self, node: s.Conditional) -> bool:
        """`x if c else x -> conv(8) -> relu`, in either order, with at least one member."""
        value, pipe = node.body, node.other
        if not isinstance(pipe, s.Pipe):
            value, pipe = pipe, value
        if not (isinstance(value, s.Name) and isinstance(pipe, s.Pipe)):
            return False
        same = isinstance(pipe.source, s.Name) and pipe.source.id == value.id
        callees = [_callee(stage) for stage in pipe.stages]
        known = all(c and (c in self.ops or c in self.blocks or self._kind(c)) for c in callees)
        plain = not any(stage.label for stage in pipe.stages)
        alone = not any(self._is_tensor(a) for stage in pipe.stages for a in stage.arguments)
        return same and known and plain and alone and any(self._kind(c) for c in callees)

    def _variable(self, loop: s.Loop) -> str | None:
        """The one variable that a chain loop passes on; None if it is no chain loop."""
        found: set[str] = set()
        for statement in loop.body:
            match statement:
                case s.Assign((target,), s.Pipe(s.Name(source), stages)) if (
                    target == source and all(map(self._owns, stages))
                ):
                    found.add(target)
                case s.Assign(_, value) if not self._is_tensor(value) and not any(
                    map(self._is_construction, value.walk())
                ):
                    continue
                case s.Loop(label=None):
                    found.add(self._variable(statement) or "")
                case _:
                    return None
        return found.pop() or None if len(found) == 1 else None

    def _owns(self, stage: s.Stage) -> bool:
        """Whether a stage makes a member with weights."""
        name = _callee(stage)
        kind = self._kind(name) if not stage.label else ""
        return kind == "block" or (kind == "layer" and bool(self.ops[name].weights))

    def _chain_loop(
        self, loop: s.Loop, loops: tuple[int, ...], arms: tuple[tuple[int, int], ...]
    ) -> None:
        stages = [node for part in loop.body for node in part.walk() if isinstance(node, s.Stage)]
        block = all(self._kind(_callee(stage)) == "block" for stage in stages)
        inner = [node for part in loop.body for node in part.walk() if isinstance(node, s.Loop)]
        sites = (loop.site, *(node.site for node in (*inner, *stages)))
        base = _loop_base(loop, block)
        self.entries.append(
            _Entry(sites, base, loop.span, bool(loop.label), block, True, loops, arms)
        )

    # --------------------------------------------------------------------------- the naming

    def _name_loops(self, body: tuple[s.Syntax, ...]) -> None:
        """Gives a loop with one member its name, and every loop a name of its own."""
        chained = {site for e in self.entries if e.listed for site in e.sites}
        for loop in _loops(body):
            if loop.site in chained:
                continue
            inside = [e for e in self.entries if loop.site in e.loops and e.member]
            base = _loop_base(loop, bool(inside) and all(entry.block for entry in inside))
            self.plan.loops[loop.site] = base
            if len(inside) == 1 and not inside[0].explicit and not inside[0].listed:
                (entry,) = inside
                entry.base, entry.explicit = base, bool(loop.label)

    def _name_members(self) -> None:
        taken = self._explicit()
        counts = Counter(entry.base for entry in self.entries if not entry.explicit)
        used: Counter[str] = Counter()
        for entry in self.entries:
            name = entry.base
            if not entry.explicit and (counts[name] > 1 or name in taken):
                name = _next(entry.base, used, taken)
            loop = entry.loops[-1] if entry.loops else None
            for site in entry.sites:
                self.plan.members[site] = Member(name, loop, entry.listed)
            if entry.listed or entry.loops:
                self._list_name(entry, name)

    def _list_name(self, entry: _Entry, name: str) -> None:
        if entry.listed:
            self.plan.loops.update(dict.fromkeys(entry.sites, name))
            return
        for site in entry.loops:
            if self.plan.loops[site] == entry.base:
                self.plan.loops[site] = name

    def _explicit(self) -> dict[str, _Entry]:
        """The names that the source gives; two of one name must exclude each other."""
        taken: dict[str, _Entry] = {}
        for entry in self.entries:
            other = taken.get(entry.base) if entry.explicit else None
            if other is not None and not _exclusive(entry, other):
                raise MlcError(
                    "duplicate", f"two members are called {entry.base}", entry.span,
                    notes=[Note("the other one", other.span)],
                    help="give one of them another name",
                )  # fmt: skip
            if entry.explicit:
                taken[entry.base] = entry
        return taken


def _callee(node: s.Call | s.Stage) -> str:
    return node.callee.id if isinstance(node.callee, s.Name) else ""


def _loops(body: tuple[s.Syntax, ...]) -> Iterator[s.Loop]:
    for part in body:
        yield from (node for node in part.walk() if isinstance(node, s.Loop))


def _loop_base(loop: s.Loop, blocks: bool) -> str:
    if loop.label:
        return loop.label
    if not loop.targets and isinstance(loop.table, s.Name) and loop.table.id.endswith("s"):
        return loop.table.id  # `repeat layers:`; the n of `repeat n:` is a number, and no list
    return "blocks" if blocks else "layers"


def _next(base: str, used: Counter[str], taken: Mapping[str, object]) -> str:
    used[base] += 1
    while f"{base}{used[base]}" in taken:
        used[base] += 1
    return f"{base}{used[base]}"


def _exclusive(a: _Entry, b: _Entry) -> bool:
    """Whether the two stand in different arms of one `if`."""
    arms = dict(a.arms)
    return any(arms.get(site, arm) != arm for site, arm in b.arms)
