"""A class of the program as a function on Keras tensors; the model's returns a `keras.Model`."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from ...compiler import expr
from ...compiler.dim import Size
from ...compiler.expr import Expr, literal
from ...compiler.graph import Graph
from ...compiler.ops.draw import NOISE
from ...compiler.program import Class, Var
from ..source.compose import Raise, Return, Store, When
from ..source.module import block, describe, docstring
from ..source.names import free
from ..source.scope import signature
from ..source.tree import shown, tree
from .body import STAND_IN, Body, Make, one_or_list
from .clusters import END, START, Group
from .custom import Custom
from .members import Names
from .optional import Default, defaults
from .rules import dtype
from .shapes import opened


class Function:
    """Prints one class.

    `graph` is given for the model: it knows which inputs may be left out, and what holds of sizes.
    `name_layer` finds a name for the class of a layer; the rest is as for `Body`.
    """

    def __init__(
        self,
        cls: Class,
        names: Names,
        graph: Graph | None,
        name_layer: Callable[[str], str],
        make: Make,
        sizes: Counter[str] | None,
    ) -> None:
        self.cls = cls
        self.names = names
        self.model = cls.definition.kind == "model"
        self.facts = graph.facts if graph else []
        inputs = graph.inputs if graph else []
        self.optional = {v.name: v for v in inputs if v.default is not None}
        self.body = Body(cls, names, make, sizes)
        self.out, self.scope = self.body.out, self.body.scope
        self.layers: list[Custom] = []
        grouping = self.body.grouping
        for before, group in grouping.result():
            custom = Custom(cls, group, grouping.open, name_layer(_wish(group)))
            self.layers.append(custom)
            self.body.use(before, custom)
        self.defaults = [
            Default(cls, var, given, name_layer(f"{var.name}_default"))
            for var, given in defaults(cls, self.optional).items()
        ]
        put_in = {default.var for default in self.defaults}
        self.body.absent = {cls.inputs[name] for name in self.optional} - put_in
        self.given = {
            d.var: Var(f"given_{d.var.name}", d.var.type, d.var.order) for d in self.defaults
        }

    def count(self) -> Counter[str]:
        """How often each size is read, where no sizes were given."""
        _, statements = self._statements()
        names = (n.id for s in statements for n in ast.walk(s) if isinstance(n, ast.Name))
        return Counter(n.removeprefix(STAND_IN) for n in names if n.startswith(STAND_IN))

    def source(self) -> str:
        """The function as text."""
        inputs, body = self._statements()
        title = docstring(describe(self.cls, facts=self.facts))
        return f"{self._header(inputs)}\n    {title}\n{block(body, 1)}\n"

    def _statements(self) -> tuple[dict[Var, str], list[ast.stmt]]:
        """The names of the inputs, and the statements of the function."""
        inputs = self._arguments()
        results = self._results()
        self.out.final = {self.out.leader(var) for var in self.cls.outputs.values()}
        several = ast.Tuple(results, ast.Load()) if len(results) > 1 else results[0]
        self.out.lines.append(Return(self._whole(results) if self.model else several))
        before = [line for v, n in inputs.items() for line in self._input(v, n)]
        locals_ = self.scope.locals
        own = {locals_[n] for n in (*self.body.bound, *(p.name for p in self.cls.params))}
        return inputs, [*before, *self.out.finish(inputs, self.body.taken | own)]

    def _header(self, inputs: Mapping[Var, str]) -> str:
        """`def residual(x: keras.KerasTensor, width: int, *, name: str) -> keras.KerasTensor:`"""
        tensors = [] if self.model else [f"{n}: keras.KerasTensor" for n in inputs.values()]
        plain = signature(self.cls, self.scope)[len(self.cls.needs) :]
        last = [] if self.model or self.cls in self.names.nameless else ["*", "name: str"]
        count = len(self.cls.outputs)
        one = "keras.KerasTensor"
        several = one if count == 1 else f"tuple[{', '.join([one] * count)}]"
        name = self.names.functions[self.cls.name]
        kind = "keras.Model" if self.model else several
        return f"def {name}({', '.join([*tensors, *plain, *last])}) -> {kind}:"

    def _arguments(self) -> dict[Var, str]:
        """The names of the inputs; one that gets a default is called otherwise before that."""
        taken = {*self.body.taken, *self.scope.locals.values()}
        found: dict[Var, str] = {}
        for name, var in self.cls.inputs.items():
            given = self.given.get(var, var)
            found[given] = free(name if given is var else given.name, taken)
        return found

    def _results(self) -> list[Expr]:
        """Adds all lines; what the function gives."""
        for size in self.body.bound:
            target = expr.name(self.scope.locals[size])
            self.out.lines.append(Store(target, self.body.size(size)))
        for default in self.defaults:
            given = [self.out.ref(v) for v in (*default.sources, self.given[default.var])]
            self.body.define([default.var], tree(f"{default.name}()(*{{xs}})", xs=given))
        self._checks()
        self.body.add_layers(START)
        self.body.add(self.cls.body)
        results = [self.body.read(var) for var in self.cls.outputs.values()]
        for custom in self.body.custom.get(END, []):
            taken = [results[0], *map(self.body.read, custom.inputs[1:])]
            results[0] = self.body.applied(custom, taken)
        results[0] = self.body.changed(results[0])
        return results

    def _input(self, var: Var, name: str) -> Iterator[ast.stmt]:
        """`image = keras.Input((None, None, 3), name="image")`."""
        if not self.model:
            return
        source = next((v for v, given in self.given.items() if given is var), var)
        order = var.order or range(var.type.rank)
        shape = [self._static(var.type.shape[axis]) for axis in order]
        fixed = not shape or not (isinstance(shape[0], ast.Constant) and shape[0].value is None)
        sizes = "batch_shape=(*{shape},)" if fixed else "(*{shape},)"
        call = tree(
            f"keras.Input({sizes}, dtype={{dtype}}, optional={{optional}}, name={{name}})",
            shape=shape if fixed else shape[1:],
            dtype=None if var.type.dtype == "f32" else dtype(var.type.dtype),
            optional=literal(True) if source.name in self.optional else None,
            name=literal(self.names.inputs.get(source.name, source.name)),
        )
        yield ast.Assign([expr.name(name)], call)

    def _static(self, size: int | Size) -> Expr:
        """A size of an input: None where it is open, an expression where the model gives it."""
        expression = literal(size)
        own = {p.name for p in self.cls.params}
        known = expr.names(expression) <= own
        return self.scope.init(expression) if known else literal(None)

    def _whole(self, results: list[Expr]) -> Expr:
        given = [self.out.ref(self.given.get(v, v)) for v in self.cls.inputs.values()]
        return tree("keras.Model({i}, {o}, name={n})", i=one_or_list(given),
                    o=one_or_list(results), n=literal(self.names.model))  # fmt: skip

    def _checks(self) -> None:
        """`require` lines; one that an open size decides is not known before the model runs."""
        for check in self.cls.checks:
            if opened(self.body.grouping.open)(check.condition):
                continue
            names = {n: self.body.place(expr.name(n)) for n in self.scope.locals}
            message = re.sub(r"\{(\w+)\}", lambda m: str(self._known(m[1]) or m[0]), check.message)
            error = tree("ValueError({m})", m=shown(message, names))
            condition = self.body.place(expr.negate(check.condition))
            self.out.lines.append(When(condition, [Raise(error)]))

    def _known(self, size: str) -> int | None:
        """A size of an input that is a number wherever it is written."""
        name, axis = self.cls.definition.sizes.get(size, ("", 0))
        found = self.cls.inputs[name].type.shape[axis] if name in self.cls.inputs else None
        return found if isinstance(found, int) else None


def _wish(group: Group) -> str:
    """What a group is called: as a weight that it holds, as its result, or by its last op."""
    scanned = next((s for s in group.statements if s.regions), None)
    if scanned is not None:
        result = next((v.name for v in reversed(scanned.outputs) if v.name), "")
        return f"{result}_{scanned.op.name}" if result else scanned.op.name
    if group.parameters:
        return group.parameters[0].name
    if group.statements[0].op is NOISE:
        return f"{group.statements[0].values['distribution']}_noise"
    named = next((v.name for v in group.outputs if v.name), None)
    return f"{named or group.statements[-1].op.name}_layer"


__all__ = ["Function"]
