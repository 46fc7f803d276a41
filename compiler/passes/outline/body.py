"""The statements that all instances of a body share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ... import expr
from ...dim import Dim
from ...expr import Expr
from ...graph import Node, Type, Value, Weight
from ...op import INTEGRAL
from ...ops.draw import own_key
from ...program import (
    Apply,
    Call,
    Chain,
    If,
    Member,
    Statement,
    Var,
    WeightVar,
    walk,
)  # fmt: skip
from ...program import outputs as results_of
from .calls import merge_call
from .choices import Arms, Choices, Placed
from .elements import Elements
from .frame import Disagree, Frame, Unroll, agree, common, disagree, plain
from .held import apart, fix_flags, held
from .loops import Carry, merge_loop
from .measured import measured, number
from .numbers import Numbers
from .regions import regions, signatures
from .sizes import Sizes
from .tree import Item, earlier, external, leaving
from .wholes import infer, operands

if TYPE_CHECKING:
    from .classes import Builder


class Body:
    """Merges the bodies of frames into one list of statements; raises Disagree where it cannot."""

    def __init__(
        self,
        builder: Builder,
        frames: Sequence[Frame],
        outer: Part | None,
        numbers: Numbers | None = None,
    ) -> None:
        self.builder = builder
        self.outer = outer
        self.numbers = numbers
        self.renamed: dict[str, Expr] = dict(outer.body.renamed) if outer else {}
        if numbers is not None:
            for variable in frames[0].scope.values:
                self.renamed.pop(variable, None)
            self.renamed |= numbers.renamed
        self.tree = builder.tree
        self.frames = list(frames)
        self.sizes = Sizes(frames, builder.unknown, builder.frozen)
        self.carried: list[Carry] = []
        self.elements = Elements(self)
        self.conditions: dict[int, Expr] = {}
        self.placed: list[Placed] = []
        self.arms: Arms = ()
        self.whole: list[Statement] | None = None
        self.choices = Choices(self)

    # ------------------------------------------------------------------------ statements

    def statements(self) -> list[Statement]:
        """The body, static ifs nested."""
        for items, present in self._items():
            self._statement(items, present)
        self.arms = ()
        self.whole = self._nest(self.placed, 0)
        return self.whole

    def add(self, placed: Placed) -> None:
        """Puts a statement where the body has come to."""
        if self.whole is None:
            self.placed.append(placed)
            self.choices.note(placed)
        else:
            self.whole.append(placed.statement)

    def _items(self) -> Iterator[tuple[list[Item | None], list[Frame]]]:
        """Each item with its counterpart in every frame (None where its arm was not taken)."""
        bodies = [{item.key: item for item in self.tree.body(f.scope)} for f in self.frames]
        places = {(item.key, item.arms) for body in bodies for item in body.values()}
        for key, arms in sorted(places):
            found = [body.get(key) for body in bodies]
            items = [item if item and item.arms == arms else None for item in found]
            present = [f for f, item in zip(self.frames, items, strict=True) if item]
            self._check_presence(items)
            yield items, present

    def _check_presence(self, items: Sequence[Item | None]) -> None:
        """An item may be missing only where a static if went the other way."""
        arms = next(item.arms for item in items if item)
        for frame, item in zip(self.frames, items, strict=True):
            taken = [frame.scope.ifs.get(site) for site, _ in arms]
            excused = any(t and t[1] != arm for t, (_, arm) in zip(taken, arms, strict=True))
            if item is None and not excused and not self._empty(frame, items):
                disagree(self.frames, [i is None for i in items])

    def _empty(self, frame: Frame, items: Sequence[Item | None]) -> bool:
        """Whether the item is a loop that runs no time in the frame."""
        known = next(item for item in items if item)
        loop = frame.scope.loops.get(known.key[0])
        return known.kind == "loop" and loop is not None and loop.count == 0

    def _statement(self, items: Sequence[Item | None], present: list[Frame]) -> None:
        there = [item for item in items if item]
        kind, arms = agree(present, [(i.kind, i.arms) for i in there])
        self.arms = tuple(a for a in arms if self.builder.two_armed(self.frames, a[0]))
        pairs = zip(self.frames, items, strict=True)
        empty = [f for f, item in pairs if item is None and self._empty(f, items)]
        part = Part(self, present, there, empty)
        make: dict[str, Callable[[], Statement]] = {
            "node": part.apply, "call": part.call, "chain": part.chain, "loop": part.loop,
        }  # fmt: skip
        statement = make[kind]()
        statement.site = there[0].site
        self.add(Placed(self.arms, statement))

    def _nest(self, placed: Sequence[Placed], depth: int) -> list[Statement]:
        """Statements with the same static if around them become the arms of one If."""
        result: list[Statement] = []
        done: set[int] = set()
        for one in placed:
            if len(one.arms) <= depth:
                result.append(one.statement)
                continue
            site = one.arms[depth][0]
            if site in done:
                continue
            done.add(site)
            inside = [p for p in placed if len(p.arms) > depth and p.arms[depth][0] == site]
            then, orelse = (
                self._nest([p for p in inside if p.arms[depth][1] == arm], depth + 1)
                for arm in (0, 1)
            )
            phis = self.choices.phis.setdefault(site, [])
            result.append(If(self.condition(site), then, orelse, phis, site))
        return result

    def condition(self, site: int) -> Expr:
        """The condition of a static if, over the names of the class."""
        if site not in self.conditions:
            taken = [(f, f.scope.ifs[site][0]) for f in self.frames if site in f.scope.ifs]
            agree([f for f, _ in taken], [expr.show(c) for _, c in taken])
            self.conditions[site] = self.own(taken[0][1])
            if not expr.known(self.conditions[site]):
                disagree(self.frames, [f.scope.ifs.get(site, (None, -1))[1] for f in self.frames])
        return self.conditions[site]

    def own(self, expression: Expr) -> Expr:
        """An expression of the source over the names of the class."""
        if self.renamed and expr.names(expression) & set(self.renamed):
            expression = expr.substitute(expression, self.renamed)
        return self.builder.fix(expression)

    def becomes(self, number: str, size: Dim) -> bool:
        """Whether a number that the loop carries is `size` at the end of each iteration."""
        assert self.numbers is not None
        name = next(n for n, own in self.numbers.names.items() if own == number)
        update = self.own(self.frames[0].scope.carries[name])
        known = self.sizes.attributes({"size": update}, {})["size"]
        ends = [frame.evaluate(update) for frame in self.frames]
        return bool(known == size) or (len(ends) > 1 and self.sizes.holds(size, ends))

    # -------------------------------------------------------------------------- operands

    def operand(self, frames: list[Frame], values: Sequence[Value | None]) -> Var | None:
        """The Var that is `values[i]` in `frames[i]`."""
        if any(v is None for v in values):
            agree(frames, [v is None for v in values])
            return None
        present = [v for v in values if v is not None]
        carried = self._carried(frames, present)
        if carried is not None:
            return carried
        numbered = self.elements.numbered(frames, present)
        if numbered is not None:
            return numbered
        found = [self._lookup(f, v) for f, v in zip(frames, present, strict=True)]
        if any(var is None for var in found):
            state = self._state(frames, present, found)
            if state is not None:
                return state
            element = self.elements.find(frames, present)
            if element is not None:
                return element
            self._unroll(frames, present, found)
            disagree(
                frames, [var is None or f.number for f, var in zip(frames, found, strict=True)]
            )
        variables = [var for var in found if var is not None]
        if all(var is variables[0] for var in variables):
            return self.choices.settled(variables[0])
        for var in dict.fromkeys(variables):
            if all(v is var or var in f.also(v) for f, v in zip(frames, variables, strict=True)):
                return self.choices.settled(var)
        variables = self._from_the_last(frames, present, variables)
        return self.choices.phi(frames, variables, present)

    def _state(
        self, frames: Sequence[Frame], values: Sequence[Value], found: Sequence[Var | None]
    ) -> Var | None:
        """The buffer, where the values are what it is at the start of each call of one instance."""
        known = {var for var in found if var is not None}
        rest = [(f, v) for f, v, var in zip(frames, values, found, strict=True) if var is None]
        handed = all(earlier(v, f.block.scope) for f, v in rest)
        var = known.pop() if len(known) == 1 else None
        return var if handed and isinstance(var, WeightVar) else None

    def _unroll(
        self, frames: Sequence[Frame], values: Sequence[Value], found: Sequence[Var | None]
    ) -> None:
        """Writes out a loop, one iteration of which makes a value that is needed outside."""
        for frame, value, var in zip(frames, values, found, strict=True):
            scope = value.node.scope if var is None and value.node is not None else None
            for outer in scope.ancestors() if scope is not None else ():
                ours = outer.kind == "iteration" and outer.block is frame.block.scope
                if ours and not self.tree.dissolved(outer):
                    raise Unroll(outer)

    def _lookup(self, frame: Frame, value: Value) -> Var | None:
        found = frame.find(value)
        if found is None and isinstance(value, Weight):
            return self.builder.weight_var(frame, value)
        return found

    def _from_the_last(
        self, frames: list[Frame], values: Sequence[Value], variables: list[Var]
    ) -> list[Var]:
        """What a static if of an iteration passes on from the one before: in the first iteration
        that is known from outside, but it is what the loop carries."""
        if self.outer is None or frames[0].scope.kind != "iteration":
            return variables
        made = {
            output for s in walk([p.statement for p in self.placed]) for output in results_of(s)
        }
        handed = [f for f, var in zip(frames, variables, strict=True) if var not in made]
        given = [v for v, var in zip(values, variables, strict=True) if var not in made]
        current = self._carried(handed, given) if handed else None
        return [var if current is None or var in made else current for var in variables]

    def _carried(self, frames: list[Frame], values: Sequence[Value]) -> Var | None:
        """The loop variable, where the values are what an assigned name held at the start."""
        if self.outer is None or frames[0].scope.kind != "iteration":
            return None
        for known in self.carried:
            at = dict(zip(self.frames, known.starts, strict=True))
            if all(at[f] is v for f, v in zip(frames, values, strict=True)):
                return known.record.current
        for name in frames[0].scope.inputs:
            if any(name not in f.scope.inputs or name not in f.scope.outputs for f in self.frames):
                continue
            starts = [self.tree.current(f.scope.inputs[name]) for f in self.frames]
            at = dict(zip(self.frames, starts, strict=True))
            if all(at[f] is v for f, v in zip(frames, values, strict=True)):
                self.carried.append(Carry(self, name, starts))
                return self.carried[-1].record.current
        return None


class Part:
    """One statement: an item with its counterparts in the frames that have it."""

    def __init__(
        self, body: Body, frames: list[Frame], items: list[Item], empty: Sequence[Frame] = ()
    ) -> None:
        self.body = body
        self.empty = empty
        self.builder = body.builder
        self.frames = frames
        self.items = items
        same = len(frames) == len(body.frames)
        self.sizes = (
            body.sizes if same else Sizes(frames, self.builder.unknown, self.builder.frozen)
        )
        if not same:
            self.sizes.symbolic.update(body.sizes.symbolic)

    # ----------------------------------------------------------------------------- a node

    def apply(self) -> Apply:
        """One op in all frames."""
        nodes = [item.node for item in self.items if item.node is not None]
        op = agree(self.frames, [node.op for node in nodes])
        attrs, values = self._attrs(nodes)
        member = self.member([node.layer for node in nodes])
        symbolic = self.sizes.attributes(attrs, values)
        inputs, blocks = regions(self, nodes) if op.blocks else (operands(self, nodes), ())
        if blocks:
            symbolic["blocks"] = signatures(blocks)
        weights = held(self, nodes, inputs, symbolic)
        outputs = self._outputs(nodes, inputs, weights, symbolic, attrs)
        first = member is None or self.builder.first_use(member, self.body.arms)
        literal = {k: v for k, v in values.items() if k not in attrs or expr.fixed(attrs[k])}
        return Apply(op, inputs, outputs, attrs, literal, member, weights, first, regions=blocks)

    def _attrs(self, nodes: list[Node]) -> tuple[dict[str, Expr], dict[str, Any]]:
        """Every attribute as an expression (arrays and other values that have none: literal)."""
        attrs: dict[str, Expr] = {}
        values: dict[str, Any] = {}
        for key, config in nodes[0].op.config.items():
            if config.kind == "key":
                values[key] = agree(self.frames, [*map(own_key, nodes)])
                continue
            given = [node.attrs[key] for node in nodes]
            if hasattr(given[0], "tobytes"):
                values[key] = agree(self.frames, given)
                continue
            sources = [self.bound(measured(self, n, key, i), i) for i, n in enumerate(nodes)]
            if nodes[0].op.config[key].kind == "float":
                given = [number(self, i, v, sources[i]) for i, v in enumerate(given)]
            if (self.items[0].site, nodes[0].op.name, key) in self.builder.tree.literal:
                self.builder.freeze(sources)
                found = self.literal(agree(self.frames, [plain(each) for each in given]))
            else:
                found = self.common(given, sources)
            attrs[key] = expr.integral(found) if config.kind in INTEGRAL else found
            values[key] = given[0]
        return attrs, values

    def common(self, values: Sequence[Any], sources: Sequence[Expr | None]) -> Expr:
        """The expression that gives every frame its value; what a literal depends on is fixed."""
        found = common(self.frames, values, sources, self.literal, self.builder.unknown.equal)
        if found is None:
            disagree(self.frames, values)
        if found is not sources[0]:
            self.builder.freeze(sources)
        return found

    def literal(self, value: Any) -> Expr:
        """A literal, its symbolic sizes in the names of the class where it has names for them."""
        return self.builder.literal(self.frames, value)

    def bound(self, source: Expr | None, i: int) -> Expr | None:
        """The expression with the variables of unrolled loops and frozen names put in."""
        if source is None:
            return None
        bindings = self.items[i].bindings
        if bindings and expr.names(source) & set(bindings):
            known = {name: expr.evaluate(value, {}) for name, value in bindings.items()}
            source = expr.reduce(source, known)
        return self.body.own(source)

    def _outputs(
        self,
        nodes: list[Node],
        inputs: Sequence[Var | None],
        weights: dict[str, Type],
        attrs: dict[str, Any],
        sources: Mapping[str, Expr],
    ) -> tuple[Var, ...]:
        op = nodes[0].op
        types = [var.type if var else None for var in inputs]
        for i, part in enumerate(op.weights, len(op.inputs)):
            name = part.rstrip("?")
            if name in weights:
                types[i] = weights[name]
        inferred = infer(self, nodes, inputs, types, attrs)
        fix_flags(self, op, sources, types, attrs)
        self.builder.freeze_names(self.sizes.bound(self.builder.definition.params.keys()))
        outputs = []
        for i, output in enumerate(nodes[0].outputs):
            candidate = inferred[i] if i < len(inferred) else None
            kind = self.sizes.type(candidate, [node.outputs[i].type for node in nodes])
            agree(self.frames, [node.outputs[i].order for node in nodes])
            outputs.append(Var(self.called(output), kind, output.order))
        self.register([node.outputs for node in nodes], outputs)
        return tuple(outputs)

    def called(self, value: Value) -> str:
        return self.builder.called(self.frames[0], value)

    def register(self, values: Sequence[Sequence[Value]], variables: Sequence[Var]) -> None:
        for frame, made in zip(self.frames, values, strict=True):
            for value, var in zip(made, variables, strict=True):
                frame.vars[value] = var

    def member(self, holders: Sequence[Any]) -> Member | None:
        """The member that a layer or a called scope is, equal in all frames."""
        if holders[0] is None:
            agree(self.frames, [h is None for h in holders])
            return None
        listed = holders[0].index is not None
        flat = listed and apart(self, holders)
        if listed and (flat or self.items[0].flat):
            name = agree(self.frames, [f"{h.member}_{h.index}" for h in holders])
            self.builder.flat.add(holders[0].member)
            return Member(name)
        return Member(agree(self.frames, [h.member for h in holders]), listed)

    # --------------------------------------------------------- a block call, a chain, a loop

    def call(self) -> Call:
        """A call of one class in all frames."""
        return merge_call(self)

    def chain(self) -> Chain:
        """A linear branch under one name."""
        scopes = [item.scope for item in self.items if item.scope is not None]
        frames = [Frame(s, f) for s, f in zip(scopes, self.frames, strict=True)]
        ins = [external(self.builder.tree, s) for s in scopes]
        outs = [leaving(self.builder.tree, s) for s in scopes]
        agree(self.frames, [(len(i), len(o)) for i, o in zip(ins, outs, strict=True)])
        given = self.body.operand(self.frames, [i[0] for i in ins])
        member = self.member(scopes)
        assert given is not None and member is not None
        with self.builder.nested(member):
            body = Body(self.builder, frames, self).statements()
        last = [f.vars[o[-1]] for f, o in zip(frames, outs, strict=True)]
        output = agree(self.frames, last)
        output.name = member.name
        self.register([[o[-1]] for o in outs], [output])
        return Chain(member, given, output, body)

    def loop(self) -> Statement:
        """A loop over iterations that are all alike."""
        return merge_loop(self)


__all__ = ["Body", "Disagree", "Part"]
