"""One class from all instances of a definition."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from ... import expr
from ...dim import Dim, Size, substitute, symbol, symbols
from ...expr import Expr
from ...graph import Definition, Scope, Type, Value, Weight
from ...program import (
    Check,
    Class,
    Hyper,
    Member,
    Parameter,
    Repeat,
    Statement,
    Var,
    WeightVar,
)  # fmt: skip
from .arms import decide
from .body import Body
from .checks import checks
from .choices import Arms
from .fixed import fixed, literals, origins
from .frame import Disagree, Frame, Freeze, Unroll, agree, disagree, plain
from .loops import lists, loops
from .reads import names_read, prune, share, sized
from .sizes import Sizes, Unknown, quotient
from .tree import Tree, external, leaving, within


@dataclass(frozen=True, slots=True)
class Made:
    """What an instance takes and gives, by the names that its class has for them; `fixed` are the
    hyper-parameters that are literals in the class."""

    inputs: Mapping[str, Value | None]
    outputs: Mapping[str, Value]
    fixed: Set[str] = frozenset()


class Builder:
    """Builds the class that `scopes` are instances of; raises Disagree if there is none."""

    def __init__(
        self,
        tree: Tree,
        definition: Definition,
        scopes: Sequence[Scope],
        classes: Mapping[Scope, Class],
        made: dict[Scope, Made],
        unexplained: Set[str] = frozenset(),
        running: Set[tuple[int, str, int]] = frozenset(),
    ) -> None:
        self.tree = tree
        self.running = running
        self.unexplained = unexplained
        self.definition = definition
        self.scopes = list(scopes)
        self.classes = classes
        self.made = made
        self.unknown = Unknown(tree.facts)
        self.frames = [Frame(scope, None) for scope in scopes]
        self.init_names: set[str] = set()
        self.checks: list[Check] = []
        self.parameters: dict[str, Parameter] = {}
        self.given: set[Var] = set()
        self.merged: dict[str, str] = {}
        self.flat: set[str] = set()
        self._weight_vars: dict[str, WeightVar] = {}
        self._called: dict[Scope, dict[Value, str]] = {}
        self._members: dict[tuple[str, ...], list[Arms]] = {}
        self._prefix: tuple[str, ...] = ()
        self.arms_taken = self._taken()
        self.fixed = fixed(self)
        self.frozen = literals(self.fixed)
        self.held: dict[str, int] = {}

    # ------------------------------------------------------------------------- static ifs

    def bodies(self, scope: Scope) -> Iterator[Scope]:
        """The scope, its iterations, chains and regions: what shares its names."""
        yield scope
        for item in self.tree.body(scope):
            inner = [item.scope] if item.kind == "chain" and item.scope else item.iterations
            if item.node is not None:
                inner = [self.tree.regions[block] for block in item.node.blocks]
            for one in inner:
                yield from self.bodies(one)

    def _taken(self) -> dict[int, tuple[Expr, set[int]]]:
        taken: dict[int, tuple[Expr, set[int]]] = {}
        for scope in self.scopes:
            for body in self.bodies(scope):
                for site, (condition, arm) in body.ifs.items():
                    taken.setdefault(site, (condition, set()))[1].add(arm)
        return taken

    def two_armed(self, frames: Sequence[Frame], site: int) -> bool:
        """Whether both arms of a static if occur among the instances."""
        return len(self.arms_taken.get(site, (None, set()))[1]) == 2

    def freeze(self, sources: Sequence[Expr | None]) -> None:
        """Fixes the hyper-parameters that something depends on by no expression that holds, and
        holds the sizes that it depends on to what they are."""
        names = origins(self, {n for s in sources if s is not None for n in expr.names(s)})
        self.freeze_names(names)
        for name in sorted(names & set(self.definition.sizes) - set(self.frozen)):
            size = agree(self.frames, [frame.names.get(name) for frame in self.frames])
            if isinstance(size, int):
                self.held[name] = size

    def freeze_names(self, names: set[str]) -> None:
        """Fixes those of the names that are hyper-parameters."""
        for name in sorted(names & set(self.definition.params) - set(self.fixed)):
            agree(self.frames, [frame.names[name] for frame in self.frames])
            raise Freeze({name})

    def fix(self, expression: Expr) -> Expr:
        """The expression with frozen names as literals, and computed where nothing is left open."""
        if not expr.names(expression) & set(self.frozen):
            return expression
        return expr.reduce(expression, self.frozen)

    # ----------------------------------------------------------------------------- names

    def called(self, frame: Frame, value: Value) -> str:
        """What the body of the class calls a value; empty if nothing."""
        scope = frame.block.scope
        if scope not in self._called:
            current = self.tree.current
            self._called[scope] = {current(v): name for v, name in scope.names.items()}
        return self._called[scope].get(value, "")

    def class_of(self, scope: Scope) -> Class:
        """The class whose instance `scope` is; built before, since callees come first."""
        return self.classes[scope]

    def first_use(self, member: Member, arms: Arms) -> bool:
        """Whether the member has not been used before in this class, or only in other arms."""
        before = self._members.setdefault((*self._prefix, member.name), [])
        apart = [any(dict(used).get(site, arm) != arm for site, arm in arms) for used in before]
        before.append(arms)
        return all(apart) or member.listed

    @contextmanager
    def nested(self, member: Member) -> Iterator[None]:
        """Within it, members are those of a chain called `member`."""
        before, self._prefix = self._prefix, (*self._prefix, member.name)
        try:
            yield
        finally:
            self._prefix = before

    def uses_init(self, expression: Expr) -> None:
        """Notes that constructing the members reads these names."""
        self.init_names |= expr.names(expression)

    def literal(self, frames: Sequence[Frame], value: Any) -> Expr:
        """A literal; its symbolic sizes in names of the class."""
        return expr.literal(self._own(frames[0], plain(value)))

    def _expressed(self, size: Dim) -> Dim | None:
        """An unknown size of the first instance in names of the class; None if it has none."""
        if not isinstance(size, Size):
            return None
        try:
            own: Dim = self._own(self.frames[0], size)
        except Disagree:
            return None
        return own

    def _own(self, frame: Frame, value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(self._own(frame, v) for v in value)
        if not isinstance(value, Size):
            return value
        by = [self._by(name, value) for name in self.definition.sizes]
        if any(size is not None for size in by):
            return next(size for size in by if size is not None)
        own = (*self.definition.sizes, *self.definition.params)
        known = {s: n for n in own for s in symbols(value) if frame.names.get(n) == symbol(s)}
        missing = [s for s in symbols(value) if s not in known]
        if missing:
            disagree(self.frames, [id(f) for f in self.frames])
        return substitute(value, {s: symbol(n) for s, n in known.items()})

    def _by(self, name: str, size: Size) -> Dim | None:
        """A size as a multiple of one of an input, and a number: `2 * H + 1`, in all instances."""
        given = [frame.names.get(name) for frame in self.frames if name not in self.frozen]
        if not given or not isinstance(given[0], Size) or any(g != given[0] for g in given):
            return None
        for times in range(1, 9):
            rest = size - times * given[0]
            if isinstance(rest, int):
                return times * symbol(name) + rest
        return None

    def translate(self, type_: Type, env: Mapping[str, Any]) -> Type:
        """A type of a callee in the names of the caller; sizes that have none become None."""
        shape = tuple(self._translate(size, env) for size in type_.shape)
        return type_.with_(shape=shape)

    def _translate(self, size: Dim, env: Mapping[str, Any]) -> Dim | None:
        known = {n: env[n] for n in symbols(size) if isinstance(env.get(n), (int, Size))}
        return substitute(size, known) if len(known) == len(symbols(size)) else None

    # ---------------------------------------------------------------------------- weights

    def weight_var(self, frame: Frame, weight: Weight) -> WeightVar | None:
        """The class's view of a weight that is read as a tensor; None if it belongs elsewhere."""
        block = frame.block.scope
        if weight.scope.path != block.path and weight.scope.block.path != block.path:
            return None
        local = weight.path[len(block.path) :].lstrip(".")
        if local not in self._weight_vars:
            self._weight_vars[local] = self._new_weight_var(local, weight)
        return self._weight_vars[local]

    def _same_weights(self, local: str) -> list[Weight]:
        held = [self.tree.graph(scope).weights for scope in self.scopes]
        paths = [f"{s.path}.{local}" if s.path else local for s in self.scopes]
        pairs = list(zip(paths, held, strict=True))
        agree(self.frames, [path not in weights for path, weights in pairs])
        return [weights[path] for path, weights in pairs]

    def _new_weight_var(self, local: str, weight: Weight) -> WeightVar:
        same_weights = self._same_weights(local)
        sizes = Sizes(self.frames, self.unknown, self.frozen)
        candidate = None
        if weight.exprs:
            whole = expr.sequence(map(quotient, weight.exprs))
            declared = sizes.attributes({"shape": whole}, {})["shape"]
            candidate = weight.type.with_(shape=declared) if declared else None
        elif weight.layer is not None:
            made_by = weight.layer
            attrs = sizes.attributes(made_by.exprs, made_by.attrs)
            made = sizes.params(made_by.op, [None] * len(made_by.op.inputs), attrs)
            candidate = made.get(weight.part)
        kind = sizes.type(candidate, [w.type for w in same_weights])
        if candidate is None:
            self.freeze(weight.exprs)
        written = weight.exprs or [None] * len(kind.shape)
        shape = tuple(map(partial(self._written, sizes), kind.shape, written))
        layer = weight.layer
        if layer is not None and layer in self.tree.applied:
            name, _ = self.tree.held(layer.member, layer.index, layer.scope)
            return WeightVar(weight.name, kind, weight.order, Member(name), weight.part)
        name = loose(local) if layer is not None else weight.part
        var = WeightVar(name, kind, weight.order, None, name)
        for size in shape:
            self.uses_init(size)
        self.parameters[local] = Parameter(
            name, shape, kind, weight.init, weight.trainable, weight.site, var
        )
        return var

    def _written(self, sizes: Sizes, size: Dim, source: Expr | None) -> Expr:
        """A size as the source writes it, where it is that."""
        own = {*self.definition.params, *self.definition.sizes}
        if source is None or not expr.names(source) <= own:
            return sizes.expression(size)
        known = sizes.attributes({"size": source}, {}).get("size")
        return expr.integral(self.fix(source)) if known == size else sizes.expression(size)

    # ------------------------------------------------------------------------- the class

    def build(self) -> Class:
        """The class, callees being built already."""
        root = self.definition.kind == "model"
        inputs = self._inputs(root)
        outputs = self._named_outputs(root)
        body = Body(self, self.frames, None)
        variables = self._input_vars(body.sizes, inputs)
        self.given = set(variables.values())
        statements = body.statements()
        decide(statements)
        self._separate(statements)
        results = {
            name: body.operand(self.frames, [o[name] for o in outputs]) for name in outputs[0]
        }
        updates = self._updates(body)
        self._declare(body.sizes, results, outputs)
        for scope, given, made in zip(self.scopes, inputs, outputs, strict=True):
            self.made[scope] = Made(given, made, self.fixed.keys())
        return self._record(statements, variables, results, updates)

    def _declare(
        self,
        sizes: Sizes,
        results: Mapping[str, Var | None],
        outputs: Sequence[Mapping[str, Value]],
    ) -> None:
        """Writes the sizes of results as the source declares them, where every instance agrees."""
        for name in self.definition.shapes:
            var = results.get(name)
            if var is not None and var not in self.given:
                types = [each[name].type for each in outputs]
                var.type = sizes.type(None, types, *self._declared(sizes, name, var.type), var.type)

    def _declared(self, sizes: Sizes, name: str, inside: Type) -> list[Type]:
        """The type of an input or output as the source declares it; none where that is unknown."""
        shape = self.definition.shapes.get(name, ())
        declared = [sizes.attributes({"size": quotient(e)}, {})["size"] for e in shape]
        known = tuple(size if isinstance(size, (int, Size)) else None for size in declared)
        return [inside.with_(shape=known)] if len(known) == inside.rank else []

    def _separate(self, statements: Sequence[Statement]) -> None:
        """Writes out loops that would fill one list one after the other, or one of which some
        members have names of their own: parts of a loop that is written out itself."""
        filled: dict[str, Repeat] = {}
        for loop in loops(statements):
            for name in lists(loop):
                if filled.setdefault(name, loop) is not loop or name in self.flat:
                    raise Unroll(next(s for s in self.tree.scopes if s.loop is loop.loop))

    def _record(
        self, body: list[Statement], inputs: dict[str, Var], outputs: Any, updates: Any
    ) -> Class:
        definition = self.definition
        self.checks = checks(self)
        prune(body, set(outputs.values()) | {var for _, var in updates})
        places = {n: (self.merged.get(source, source), axis)
                  for n, (source, axis) in definition.sizes.items()}  # fmt: skip
        sizes = {n: place for n, place in places.items()
                 if place[0] in inputs and n not in self.frozen}  # fmt: skip
        share(body)
        init, call = names_read(body, self.init_names, self.checks)
        params = [
            Hyper(name, self._default(name, default), self.frames[0].names[name])
            for name, default in definition.params.items()
            if name in init | call
        ]
        return Class(
            definition.name, definition, params, sizes, inputs, outputs, body,
            sorted(self.parameters.values(), key=lambda p: p.site), self.checks, self.scopes,
            updates, init, call, self.unknown.chosen,
        )  # fmt: skip

    def _default(self, name: str, declared: Expr | None) -> Expr | None:
        """Of a block what the source says; of the model the value that it was compiled for."""
        value = self.frames[0].names[name]
        return expr.literal(value) if self.definition.kind == "model" else declared

    def _updates(self, body: Body) -> list[tuple[Parameter, Var]]:
        updates = ChainMap(*(graph.updates for graph in self.tree.graphs))
        for weight in self.tree.graph(self.scopes[0]).updates:
            if weight.layer is None:  # A state may be set that nothing reads.
                self.weight_var(self.frames[0], weight)
        result = []
        for local, parameter in self.parameters.items():
            weights = self._same_weights(local)
            given = [updates.get(weight) for weight in weights]
            if agree(self.frames, [g is None for g in given]):
                continue
            values = [g[0] for g in given if g]
            last = [
                f
                for f, v in zip(self.frames, values, strict=True)
                if isinstance(v, Weight) or f.find(v)
            ]
            var = body.operand(
                last, [v for f, v in zip(self.frames, values, strict=True) if f in last]
            )
            assert var is not None
            result.append((parameter, var))
        return result

    # ---------------------------------------------------------------- inputs and outputs

    def _inputs(self, root: bool) -> list[dict[str, Value | None]]:
        """For each instance its inputs by name, in source order, then what passes have added."""
        if root:
            return [{v.name: v for v in self.tree.roots[scope].inputs} for scope in self.scopes]
        found: list[dict[str, Value | None]] = []
        merged: list[dict[str, str]] = []
        for scope in self.scopes:
            outside = external(self.tree, scope)
            named, again = self._named_inputs(scope)
            merged.append({n: first for n, first in again.items() if n != first})
            given = {named[v]: v for v in (*outside, *sized(self, scope)) if v in named}
            rest = [v for v in outside if v not in named]
            ordered: dict[str, Value | None] = {
                name: given[name] for name in self.definition.inputs if name in given
            }
            found.append({**ordered, **{self._extra(v, i): v for i, v in enumerate(rest)}})
        agree(self.frames, [tuple(names) for names in found])
        self.merged = agree(self.frames, merged)
        return found

    def _named_inputs(self, scope: Scope) -> tuple[dict[Value, str], dict[str, str]]:
        """The name of each tensor that is given: the first, where it is given under several. Then
        the name that each input goes by."""
        named: dict[Value, str] = {}
        goes_by = {}
        for name in filter(scope.inputs.__contains__, self.definition.inputs):
            value = self.tree.current(scope.inputs[name])
            goes_by[name] = named.setdefault(value, name)
        return named, goes_by

    def _extra(self, value: Value, number: int) -> str:
        plain_name = value.name.rsplit(".", 1)[-1]
        return f"{plain_name if plain_name.isidentifier() else 'input'}_{number}"

    def _input_vars(
        self, sizes: Sizes, inputs: Sequence[Mapping[str, Value | None]]
    ) -> dict[str, Var]:
        variables = {}
        places = {place: name for name, place in self.definition.sizes.items()
                  if name not in self.frozen}  # fmt: skip
        for name in inputs[0]:
            values = [each[name] for each in inputs]
            present = [v for v in values if v is not None]
            first = present[0]
            own = (*self.definition.sizes, *self.definition.params)
            labels = [label if label in own else None for label in first.type.labels]
            names = [places.get((name, axis)) or labels[axis] for axis in range(first.type.rank)]
            shape = tuple(
                symbol(n) if n and n not in self.frozen else self._expressed(size)
                for n, size in zip(names, first.type.shape, strict=True)
            )
            candidate = first.type.with_(shape=shape)
            declared = self._declared(sizes, name, first.type)
            kind = sizes.type(candidate, [v.type for v in present], *declared)
            agree(self.frames, [v.order for v in present])
            variables[name] = Var(name, kind, first.order)
            for frame, value in zip(self.frames, present, strict=True):
                frame.vars[value] = variables[name]
        return variables

    def _named_outputs(self, root: bool) -> list[dict[str, Value]]:
        if root:
            return [dict(self.tree.roots[scope].outputs) for scope in self.scopes]
        found: list[dict[str, Value]] = []
        for scope in self.scopes:
            named = {self.tree.current(value): name for name, value in scope.outputs.items()}
            values = leaving(self.tree, scope)
            found.append({named.get(v) or self._extra(v, i): v for i, v in enumerate(values)})
        self._unused(found)
        agree(self.frames, [tuple(sorted(names)) for names in found])
        order = [n for n in self.definition.outputs if n in found[0]]
        order += [n for n in found[0] if n not in order]
        return [{name: each[name] for name in order} for each in found]

    def _unused(self, found: list[dict[str, Value]]) -> None:
        """Adds the outputs that only some callers have a use for, where all instances make them."""
        for name in dict.fromkeys(name for each in found for name in each):
            given = [scope.outputs.get(name) for scope in self.scopes]
            values = [self.tree.current(value) if value is not None else None for value in given]
            made = [
                value is not None and value.node is not None and within(value.node.scope, scope)
                for value, scope in zip(values, self.scopes, strict=True)
            ]
            nodes = [value.node for value in values if value is not None]
            if not all(made) or any(n and not self.tree.holds(n) for n in nodes):
                continue
            for each, value in zip(found, values, strict=True):
                if value is not None:
                    each.setdefault(name, value)


def loose(path: str) -> str:
    """What the class calls a weight whose layer was written out in smaller ops."""
    return path.replace(".", "_")


__all__ = ["Builder", "Made", "loose"]
