"""Sizes in a graph: numbers where they are known, small tensors where only the run will tell."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Sequence

from ...compiler import expr
from ...compiler.diagnose import MlcError
from ...compiler.dim import Dim, Size
from ...compiler.expr import Expr, literal
from ...compiler.graph import Type
from ...compiler.passes.outline.sizes import OPAQUE
from ...compiler.program import Class, RunningSize, Var
from ..source.compose import Assign, Composer
from ..source.names import identifier
from ..source.scope import Scope
from ..source.tree import number, tree

OPERATORS: dict[type[ast.operator], str] = {
    ast.Add: "add", ast.Sub: "subtract", ast.Mult: "multiply", ast.Mod: "floor_mod",
}  # fmt: skip
"""Arithmetic on sizes that are tensors."""

SIZE = 'ops.gather(ops.shape_of({x}, "i32"), [{axis}], 0)'
"""A size as a tensor of one element."""

STATIC = (
    "{x}.get_output_partial_shape(0)[{axis}].get_length()",
    "({x} if isinstance({x}, ov.Output) else {x}.output(0))"
    ".get_partial_shape()[{axis}].get_length()",
)
"""A size that is known while the graph is built: of a node; of one, or one of a node's outputs."""

FUNCTIONS = {"max": "maximum", "min": "minimum"}


class Sizes:
    """Expressions of a class where tensors are in sight.

    A size of an input that differs from run to run is an i32 tensor of one element, which gets a
    line of its own; one that every instance of the class knows is read off the graph as a number.
    """

    def __init__(
        self, cls: Class, scope: Scope, out: Composer, own: str, ports: bool = False
    ) -> None:
        self.cls = cls
        self.ports = ports
        self.scope = scope
        self.out = out
        self.own = own
        self.vars: dict[str, Var] = {}
        self._open: set[str] = set()

    # ----------------------------------------------------------------------- expressions

    def place(self, expression: Expr) -> Expr:
        """The expression in plain Python, with every name where it can be read."""
        expression = expr.spoken(expr.substitute(expression, self.cls.chosen))
        names = {name: self._name(name) for name in sorted(expr.names(expression))}
        placed = expr.substitute(expression, names)
        return self._computed(placed) if self.open(placed) else placed

    def _name(self, name: str) -> Expr:
        if name in self.cls.sizes and self.cls.sizes[name][0] in self.cls.inputs:
            return self._size(name)
        if name in self.scope.kept:
            return expr.parse(f"{self.own}{self.scope.kept[name]}")
        return ast.Name(self.scope.locals.get(name, name), ast.Load())

    def _size(self, name: str) -> Expr:
        if name not in self.vars:
            self.vars[name] = Var(identifier(name), Type("i32", (1,)))
        placed = self.out.ref(self.vars[name])
        assert isinstance(placed, ast.Name)
        if any(isinstance(s.values.get(name), Size) for s in self.cls.scopes):
            self._open.add(placed.id)
        return placed

    def run_along(self, sizes: Iterable[RunningSize]) -> None:
        """Notes which sizes that a loop changes only the run will tell."""
        for size in sizes:
            starts = self.place(size.start)
            if self.open(starts):
                self._open.add(self.scope.locals[size.name])

    def lines(self) -> list[Assign]:
        """`T = self.size(x, 1)`, for the sizes that have been asked for."""
        found = []
        for name, var in self.vars.items():
            source, axis = self.cls.sizes[name]
            x = self.out.ref(self.cls.inputs[source])
            placed = self.out.ref(var)
            assert isinstance(placed, ast.Name)
            template = SIZE if placed.id in self._open else STATIC[self.ports]
            found.append(Assign([var], tree(template, x=x, axis=literal(axis))))
        return found

    def open(self, node: Expr | None) -> bool:
        """Whether a tree is a tensor, for a size that only the run will tell."""
        return node is not None and any(
            isinstance(n, ast.Name) and (n.id in self._open or n.id == "ops")
            for n in ast.walk(node)
        )

    def _computed(self, node: Expr) -> Expr:
        """Arithmetic in which a tensor takes part, by ops; tuples item by item."""
        if not self.open(node):
            return node
        match node:
            case ast.Tuple(elts=items) | ast.List(elts=items):
                return ast.Tuple([self._computed(item) for item in items], ast.Load())
            case ast.Name():
                return node
            case ast.BinOp(left=left, op=op, right=right):
                a, b = self._operand(left), self._operand(right)
                if isinstance(op, ast.FloorDiv):
                    exact = "ops.subtract({a}, ops.floor_mod({a}, {b}))"
                    above = tree(exact, a=a, b=b) if self._subtracts(left) else a
                    return tree("ops.divide({a}, {b})", a=above, b=b)
                if type(op) in OPERATORS:
                    return tree(f"ops.{OPERATORS[type(op)]}({{a}}, {{b}})", a=a, b=b)
            case ast.UnaryOp(
                op=ast.USub(),
                operand=ast.BinOp(
                    left=ast.UnaryOp(op=ast.USub(), operand=left), op=ast.FloorDiv(), right=right
                ),
            ):
                return self._computed(_rounded_up(left, right))
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return tree("ops.negative({x})", x=self._computed(operand))
            case ast.IfExp(test=test, body=then, orelse=other) if not self.open(test):
                return ast.IfExp(test, self._element(then), self._element(other))
            case ast.Call(func=ast.Name(id=function), args=[first, *rest]) if function in FUNCTIONS:
                result = self._operand(first)
                for other in rest:
                    template = f"ops.{FUNCTIONS[function]}({{a}}, {{b}})"
                    result = tree(template, a=result, b=self._operand(other))
                return result
        what = f"OpenVINO source for a size computed as {expr.show(node)}"
        raise MlcError("unsupported", what, help="choose another target")

    def _subtracts(self, node: Expr) -> bool:
        """Whether it may be negative, where sizes are not: a division by ops would round it up."""
        return any(
            isinstance(n, (ast.BinOp, ast.UnaryOp))
            and isinstance(n.op, (ast.Sub, ast.USub))
            and self.open(n)
            for n in ast.walk(node)
        )

    def _operand(self, node: Expr) -> Expr:
        if self.open(node):
            return self._computed(node)
        return tree("np.int32({n})", n=node)

    def _element(self, node: Expr) -> Expr:
        """A size as a tensor of one element, whether it is known or not."""
        known = tree("ops.constant(np.int32([{n}]))", n=node)
        return self._computed(node) if self.open(node) else known

    # ------------------------------------------------------------------------- for rules

    def nameless(self, size: Dim) -> bool:
        """Whether no expression of the class gives a size."""
        names = expr.names(expr.substitute(literal(size), self.cls.chosen))
        return any(name.startswith(OPAQUE) for name in names)

    def scalar(self, size: Expr) -> Expr:
        """A size as a tensor of rank 0, or as a number."""
        return tree("ops.squeeze({n}, 0)", n=size) if self.open(size) else size

    def shape(self, sizes: Sequence[Expr]) -> Expr:
        """A list of sizes as an argument of an op."""
        if not sizes:
            return tree("np.int32([])")
        if not any(self.open(size) for size in sizes):
            return ast.List(list(sizes), ast.Load())
        if len(sizes) == 1:
            return sizes[0]
        return tree("self.shape(*{sizes})", sizes=list(sizes))

    def reshaped(
        self, before: Sequence[Dim], after: Sequence[Dim], sizes: Sequence[Expr]
    ) -> dict[str, Expr]:
        """`shape` and `zero` of a reshape: 0 stands for a size that stays, one -1 for the rest."""
        kept = [
            self.open(size) and i < len(before) and before[i] == after[i]
            for i, size in enumerate(sizes)
        ]
        free = [i for i, size in enumerate(sizes)
                if (self.open(size) or number(size) == -1) and not kept[i]]  # fmt: skip
        zeros = any(number(size) == 0 for size in sizes)
        if len(free) > 1 or zeros:
            return {"shape": self.shape(sizes), "zero": literal(False)}
        short = [
            literal(0) if kept[i] else literal(-1) if i in free else size
            for i, size in enumerate(sizes)
        ]
        shape = ast.List(short, ast.Load()) if short else tree("np.int32([])")
        return {"shape": shape, "zero": literal(any(kept))}


def _rounded_up(a: Expr, b: Expr) -> Expr:
    """`-(-a // b)` of a size and a number as `(a + b - 1) // b`."""
    known = number(b)
    less = literal(known - 1) if isinstance(known, int) else ast.BinOp(b, ast.Sub(), literal(1))
    return ast.BinOp(ast.BinOp(a, ast.Add(), less), ast.FloorDiv(), b)


def elements(node: Expr) -> list[Expr]:
    """The items of a tuple or list; the tree itself where it is none."""
    return list(node.elts) if isinstance(node, (ast.Tuple, ast.List)) else [node]


Place = Callable[[Expr], Expr]
