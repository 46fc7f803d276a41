"""The lines of the function that applies a block."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from ....compiler import expr
from ....compiler.diagnose import MlcError
from ....compiler.expr import Expr, literal
from ....compiler.graph import Type
from ....compiler.program import (
    Apply,
    Call,
    Chain,
    Class,
    If,
    Member,
    Repeat,
    Statement,
    Var,
    WeightVar,
    followed,
    walk,
)  # fmt: skip
from ...source.compose import Do, For, Store, When
from ...source.constructor import listed
from ...source.lists import counts, numbered, places, singular, zipped
from ...source.names import free
from ...source.parts import Rule, spell
from ...source.reads import Reads
from ...source.scope import Scope, members
from ...source.tree import text, tree
from ..layers import LAYERS
from ..policy import PLAIN, Policy
from ..printer import Lines
from ..rules import RULES, drawn, masks
from ..stacks import Stack
from ..weights import VARIABLES, VIEWS
from .layers import INLINE, READS, Layers, attended, given
from .needs import RANDOM, Known, names
from .spelling import plain


class Body(Lines):
    """Layers and blocks are functions of the parameters, and of the state if they have one.

    The members of a loop are the elements of a list. Where they have a state, which is put back,
    they are numbered; otherwise the loop runs through them.
    """

    rules: ClassVar[Mapping[str, Rule]] = {
        **RULES, "noise": drawn("next(noise_keys)"), **masks("train"),
    }  # fmt: skip
    layers: ClassVar[Mapping[str, Rule | None]] = dict.fromkeys(LAYERS)

    def __init__(
        self,
        cls: Class,
        scope: Scope,
        taken: frozenset[str],
        layers: Layers,
        known: Known,
        functions: Mapping[str, str],
        policy: Policy = PLAIN,
    ) -> None:
        super().__init__(cls, scope, taken, policy)
        self.sizes = Reads(cls, scope, self.out, "")
        self.place = self.sizes.place
        applied = [s for s in walk(cls.body) if isinstance(s, Apply)]
        self.made = {out: s for s in applied for out in s.outputs}
        self.kinds = layers
        self.known = known
        self.functions = functions
        self.held = names(known, cls.body)
        self.index: dict[str, Callable[[], Expr]] = {}
        self.counted: set[str] = set()

    # ------------------------------------------------------------------------------ members

    def holder(self, member: Member) -> Expr:
        """Unused: what is applied is a function, see `trees`."""
        del member
        return expr.name("params")

    def trees(self, statement: Apply | Call) -> tuple[Expr | None, Expr | None]:
        """Where the parameters and the state of what is applied are, as far as it has them."""
        needs = self.known.of(statement)
        member = statement.member
        if member is None or not self._in_tree(member):
            return None, None
        params, state = self._places(member)
        if isinstance(params, ast.Call) and not needs.params:
            self.out.lines.append(Do(params))
        return params if needs.params else None, state if needs.state else None

    def _in_tree(self, member: Member) -> bool:
        if self.within is not None:
            return member.name in self._stages(self.within)
        return member.name in self.held

    def _stages(self, chain: Chain) -> list[str]:
        """The stages of a branch that hold something."""
        held = (s for s in chain.body if self.known.holds(s))
        return [s.member.name for s in held if isinstance(s, (Apply, Call)) and s.member]

    def _places(self, member: Member) -> tuple[Expr, Expr]:
        """Where its parameters and its state would be."""
        if self.within is not None:
            chain, self.within = self.within, None
            outer = self._places(chain.member)
            self.within = chain
            place = literal(self._stages(chain).index(member.name))
            return item(outer[0], place), item(outer[1], place)
        key, element = literal(member.name), self.elements.get(member.name)
        if member.name in self.index:
            index = self._index(member.name)
            state = item(item(expr.name("state"), key), index)
            return element or item(item(expr.name("params"), key), index), state
        if element is not None:
            return element, element
        return item(expr.name("params"), key), item(expr.name("state"), key)

    def _index(self, name: str) -> Expr:
        """The place in a list; of a counter, which goes on, it gets a name."""
        index = self.index[name]()
        if not isinstance(index, ast.Call):
            return index
        own = expr.name(self._own("i"))
        self.out.lines.append(Store(own, index))
        return own

    def _own(self, wish: str) -> str:
        return free(wish, {*self.taken, *self.scope.locals.values(), *self.cls.inputs})

    def element(self, name: str) -> str:
        """`block`, or `layer_params` where `layer` is taken, as by the function that is called."""
        one = singular(name)
        return super().element(name) if self._own(one) == one else self._own(f"{one}_params")

    def weight(self, var: WeightVar) -> Expr:
        """`params["position"]`; a layer's as the source has it: `params["linear"]["kernel"].T`."""
        if var.member is None:
            fixed = any(p.var.part == var.part and not p.trainable for p in self.cls.parameters)
            return item(expr.name("state" if fixed else "params"), literal(var.part))
        name = var.member.name
        op = self.ops[name]
        iterated = isinstance(self.elements.get(name), ast.Call) or name in self.counted
        if op == "attention" or iterated:
            raise MlcError("unsupported", f"JAX functions that read a weight of {name} by itself")
        params, state = self._places(var.member)
        held = state if var.part in ("running_mean", "running_var") else params
        made = item(held, literal(VARIABLES.get(op, {}).get(var.part, var.part)))
        view = VIEWS.get(op)
        return view(made, var) if view and var.part == "weight" else made

    # --------------------------------------------------------------------------- statements

    def control(self, statement: Apply) -> None:
        """A scan, whose steps have no keys of their own and leave the state as it is."""
        for inner in (s for region in statement.regions for s in walk(region.body)):
            needs = self.known.of(inner)
            if needs.key or needs.state:
                what = f"JAX functions that draw, or change a state, within a {statement.op.name}"
                raise MlcError("unsupported", what, help="choose modules, without --style")
        super().control(statement)

    def chain(self, statement: Chain) -> None:
        outside, self.within = self.within, statement
        self.body(statement.body)
        self.within = outside

    def spelled(self, statement: Apply) -> Expr:
        """An op that is no layer; by an embedding's weight, too, it is a product."""
        table = statement.inputs[1] if statement.op.name == "linear" else None
        if isinstance(table, WeightVar):
            return plain(spell(self.rules, self.parts(statement), self.target))
        return plain(super().spelled(statement))

    def layer(self, statement: Apply, member: Member) -> None:
        del member
        params, state = self.trees(statement)
        parts = super(Lines, self).parts(self.tuples.spread(statement))  # its function casts
        if statement.op.name in INLINE:
            made = parts.fill(INLINE[statement.op.name], name=params)
            self._set(statement.outputs[:1], made, None, params)
            return
        kind = self.kinds.of(statement)
        first = [each for each in (params, state) if each is not None]
        first.append(parts["x"])
        first += [NEXT] if statement.op.name in RANDOM else []
        first += [expr.name("train")] if state is not None else []
        told = attended(parts) if kind.op == "attention" else given(parts)
        positional, keywords = kind.arguments(told)
        call = called(kind.name, [*first, *positional], keywords)
        self._set(statement.outputs[:1], self.tuples.join(call, self.place), state, params)

    def call(self, statement: Call) -> None:
        """`h = layer(params["layer"], h, heads=heads, key=next(keys))`."""
        params, state = self.trees(statement)
        given = [self.read(v) for v in statement.inputs if v is not None]
        made = self._scan if isinstance(statement, Stack) else self._applied
        self._set(statement.outputs, made(statement, params, state, given), state, params)

    def _applied(
        self, statement: Call, params: Expr | None, state: Expr | None, given: Sequence[Expr],
        key: Expr | None = None,
    ) -> Expr:  # fmt: skip
        """The call of a block's function."""
        needs = self.known[statement.cls]
        told = {needs.hypers[n]: self.place(v) for n, v in self._told(statement).items()}
        told |= {"train": expr.name("train")} if needs.train else {}
        told |= {"noise_key": expr.parse("next(noise_keys)")} if needs.noise else {}
        told |= {"key": key or NEXT} if needs.key else {}
        xs = [each for each in (params, state) if each is not None]
        return called(self.functions[statement.cls.name], [*xs, *given], told)

    def _scan(
        self, statement: Call, params: Expr | None, state: Expr | None, given: Sequence[Expr]
    ) -> Expr:
        """`scan(lambda x, p: layer(p, x, heads=heads), h, params["layers"])`."""
        assert isinstance(statement, Stack)
        needs = self.known[statement.cls]
        first, each, rest = given[0], given[1 : statement.each + 1], given[statement.each + 1 :]
        x, p, s, k = (expr.name(self._own(wish)) for wish in "xpsk")
        own = [expr.name(self._own(f"x{i}")) for i in range(1, len(each) + 1)]
        trees = {p: params, s: state, **dict(zip(own, each, strict=True))}
        layers = {name: tree_ for name, tree_ in trees.items() if tree_ is not None}
        block = self._applied(
            statement, params and p, state and s, [x, *own, *rest], k if needs.key else None
        )
        arguments = [expr.show(name) for name in (x, *layers)]
        arguments += [f"{expr.show(k)}=None"] if needs.key else []
        function = tree(f"lambda {', '.join(arguments)}: {{y}}", y=block)
        key = {"key": NEXT} if needs.key else {}
        made = called("scan", [function, first, *layers.values()], key)
        if not statement.empty:
            return made
        gone = ast.Tuple([first, ast.Dict([], [])], ast.Load())
        none = gone if state is not None else first
        held = params if params is not None else state
        return tree("{y} if {p} else {n}", y=made, p=held, n=none)

    def _told(self, statement: Call) -> dict[str, Expr]:
        """The hyper-parameters that a call reads, as far as they are given."""
        hypers = self.known[statement.cls].hypers
        return {name: value for name, value in statement.given.items() if name in hypers}

    def _set(
        self, outputs: Sequence[Var], made: Expr, state: Expr | None, params: Expr | None
    ) -> None:
        """`h, state["batch_norm"] = …`: in two lines, which are made one in the end.

        What takes the next element of a list has a line of its own, so that each takes its own.
        """
        if isinstance(params, ast.Call):
            self.out.join(outputs[0])
        if state is None:
            self.define(outputs, made)
            return
        new = Var("new_state", Type("f32", ()))
        self.define([*outputs, new], made)
        self.out.lines.append(Store(state, self.out.ref(new)))

    def _if(self, statement: If) -> None:
        arms = [self.arm(statement.then, statement.phis, "then"),
                self.arm(statement.orelse, statement.phis, "orelse")]  # fmt: skip
        for phi in statement.phis:
            self.out.join(phi.result)
        for name, go_on in self._moving().items():
            used = [sum(m.name == name for m in members(body))
                    for body in (statement.then, statement.orelse)]  # fmt: skip
            for arm, lacks in zip(arms, (used[1] - used[0], used[0] - used[1]), strict=True):
                arm += [Do(go_on()) for _ in range(lacks)]
        condition = self._condition(statement)
        there = "in params" in text(condition)
        if there and not statement.then:
            arms.reverse()
        self.out.lines.append(When(condition, arms[0], arms[1]))

    def _moving(self) -> dict[str, Callable[[], Expr]]:
        """The lists that are gone through by `next`: an arm that does without must go on, too."""
        iterated = {n: e for n, e in self.elements.items() if isinstance(e, ast.Call)}
        counted = {n: f for n, f in self.index.items() if n in self.counted}
        return {**{n: (lambda e=e: e) for n, e in iterated.items()}, **counted}  # type: ignore[misc]

    def _condition(self, statement: If) -> Expr:
        """The source's; `"skip" in params` where one arm has nothing but that member."""
        optional = statement.optional
        member = optional.member if optional is not None else None
        if optional is None or member is None or member.listed or self.within is not None:
            return self.place(statement.condition)
        if not self.known.of(optional).params:
            return self.place(statement.condition)
        return tree("{key} in params", key=literal(member.name))

    # ------------------------------------------------------------------------------ loops

    def whole(self, loop: Repeat) -> str | None:
        """The list that a loop only runs through, where every turn does the same."""
        chain = loop.chain
        if chain is None or chain not in self.held or chain in {*self.elements, *self.index}:
            return None
        turns = [loop, *(s for s in walk(loop.body) if isinstance(s, Repeat))]
        changing = {n for turn in turns for n in turn.variables}
        changing |= {size.name for turn in turns for size in turn.sizes}
        done = set()
        for statement in walk(loop.body):
            if isinstance(statement, Repeat):
                continue
            if not isinstance(statement, (Apply, Call)):
                return None
            read = self._read_by(statement)
            if {n for e in read.values() for n in expr.names(e)} & changing:
                return None
            what = statement.op.name if isinstance(statement, Apply) else statement.cls.name
            done.add(
                (type(statement), what, *(f"{key}={text(e)}" for key, e in sorted(read.items())))
            )
        return chain if len(done) == 1 else None

    def _read_by(self, statement: Apply | Call) -> dict[str, Expr]:
        """The attributes or hyper-parameters that are read where something is applied."""
        if isinstance(statement, Call):
            return self._told(statement)
        layer = statement.member is not None and statement.op.name in LAYERS
        keys = READS.get(statement.op.name, ()) if layer else statement.attrs
        return {key: statement.attrs[key] for key in keys if key in statement.attrs}

    def _names(self, body: Sequence[Statement]) -> set[str]:
        found: set[str] = set()
        for statement in walk(list(body)):
            match statement:
                case Apply() | Call():
                    read = self._read_by(statement).values()
                    found |= {n for e in read for n in expr.names(e)}
                case If():
                    found |= expr.names(self._condition(statement))
                case Repeat(table=table) if self.whole(statement) is None:
                    found |= expr.names(table)
        return found

    def turn(self, loop: Repeat, chain: str) -> None:
        del chain
        (carried,) = loop.carried
        first = next(s for s in walk(loop.body) if isinstance(s, (Apply, Call)))
        given = (carried.current, *first.inputs[1:])
        self.body([replace(first, inputs=given, outputs=(carried.next, *first.outputs[1:]))])

    def iterators(self, loop: Repeat) -> None:
        """Lists of which one turn takes several elements, or that inner loops go through, too."""
        inner = {n for s in walk(loop.body) if isinstance(s, Repeat) for n in listed(s)}
        inner |= {m.name for s in walk(loop.body) if isinstance(s, If) for m in members([s])
                  if loop.chain}  # fmt: skip
        several = len(list(members(loop.body))) > 1
        for name in self._fresh(loop):
            if self.held[name].state and name in inner:
                counter = expr.name(self._own(f"{name}_index"))
                self.out.lines.append(Store(counter, tree("itertools.count()")))
                self.index[name] = lambda c=counter: tree("next({c})", c=c)  # type: ignore[misc]
                self.counted.add(name)
            elif not self.held[name].state and (name in inner or (loop.chain and several)):
                if self.whole(loop):
                    continue
                own = expr.name(self._own(name))
                start = tree("iter(params[{k}])", k=literal(name))
                self.out.lines.append(Store(own, start))
                self.elements[name] = tree("next({xs})", xs=own)

    def _fresh(self, loop: Repeat) -> list[str]:
        """The lists that no loop around this one goes through."""
        known = {*self.elements, *self.index}
        return [name for name in listed(loop) if name in self.held and name not in known]

    def header(self, loop: Repeat, chain: str | None) -> For:
        """`for i, (width, stride) in enumerate(table)`: what the body reads, and no more."""
        lists = self._fresh(loop)
        stateful = [name for name in lists if self.held[name].state]
        several = len(list(members(loop.body))) if loop.chain and not chain else 1
        pairs: list[tuple[Expr, Expr]] = []
        read = followed([loop, *walk(loop.body)], self._names(loop.body))
        reads = bool(set(loop.variables) & read) and not chain
        through = lists if not reads and several == 1 else [n for n in lists if n not in stateful]
        if reads or not (through or loop.elements):
            table = self.place(loop.table)
            source = table if loop.variables else tree("range({n})", n=table)
            pairs.append((self.variables(loop), source))
        for name in through:
            element = expr.name(self.element(name))
            pairs.append((element, tree("params[{k}]", k=literal(name))))
            self.elements[name] = element
        line = zipped([*pairs, *self.lists.taken(loop)])
        return self._counted(loop, line, stateful, several)

    def _counted(self, loop: Repeat, line: For, lists: Sequence[str], several: int) -> For:
        """The header with a number for each turn, where states are put back by it."""
        if not lists:
            return line
        variables = [self.scope.locals[name] for name in loop.variables]
        own = counts(loop) and isinstance(line.target, ast.Name) and [line.target.id] == variables
        index = line.target if own else expr.name(self._own("i"))
        for name in lists:
            self.index[name] = places(index, several)
        return line if own else numbered(index, line)


NEXT = tree("next(keys)")
"""The next key to draw by."""


def item(tree_: Expr, key: Expr) -> Expr:
    """`params["linear"]`."""
    return ast.Subscript(tree_, key, ast.Load())


def called(function: str, given: Sequence[Expr], keywords: Mapping[str, Expr]) -> Expr:
    """A call of a function of the file."""
    named = [ast.keyword(key, value) for key, value in keywords.items()]
    return ast.Call(expr.name(function), list(given), named)
