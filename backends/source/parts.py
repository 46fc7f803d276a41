"""What a rule's template is filled with: an op's tensors and attributes as trees."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Container, Mapping
from typing import Any, TypeAlias

from ...compiler.diagnose import MlcError
from ...compiler.expr import Expr, literal
from ...compiler.program import Apply, Var
from .tree import Part, is_literal, number, tree

Place: TypeAlias = "Callable[[Expr], Expr]"
Rule: TypeAlias = "str | Callable[[Parts], Expr]"


class Open(MlcError):
    """An attribute must be a literal, and only hyper-parameters tell it; `place` is where."""

    def __init__(self, apply: Apply, name: str) -> None:
        what = f"{apply.op.name} with a {name} that depends on hyper-parameters"
        super().__init__("unsupported", what, help=f"write {name} as a literal")
        self.place = apply.place(name)


class Parts:
    """One op for a rule: `p["x"]` is a tensor or an attribute as a tree, None where it is absent.

    A weight that is called like an attribute (`bias`) is `p["bias_tensor"]`. Axis attributes are
    already counted in the order in which the layout pass stores the tensor. `p.apply` is the
    record, for a rule that must look at types; `p.name` is what the layer is called, for targets
    that name layers where they are made; `p.device` is where new tensors belong, for targets that
    must be told. `numbers` are the tensors that are written as Python numbers.
    """

    def __init__(
        self,
        apply: Apply,
        ref: Callable[[Var], Expr],
        place: Place,
        name: Expr | None = None,
        numbers: Container[Var] = (),
        device: Expr | None = None,
    ) -> None:
        self.apply = apply
        self.name = name
        self.numbers = numbers
        self.device = device
        self.op = apply.op
        self.place = place
        self.ref = ref
        self._parts: dict[str, Part] = {"name": name}
        for key in apply.op.config:
            self._parts[key] = self._attribute(key)
        if apply.op.variadic:
            self._parts[apply.op.inputs[0].strip("*")] = [ref(v) for v in apply.inputs if v]
            return
        names = [n.rstrip("?") for n in (*apply.op.inputs, *apply.op.weights)]
        for slot, var in zip(names, apply.inputs, strict=False):
            clash = slot in apply.op.config
            self._parts[f"{slot}_tensor" if clash else slot] = ref(var) if var is not None else None

    def __getitem__(self, name: str) -> Any:
        return self._parts[name]

    @property
    def all(self) -> Mapping[str, Part]:
        """Every part by name."""
        return self._parts

    def value(self, name: str) -> Any:
        """The attribute's literal value; None where it is an expression, or None itself."""
        return number(self.apply.attrs.get(name))

    def fixed(self, name: str) -> Any:
        """The attribute's literal value; Open where only hyper-parameters tell it."""
        if name in self.apply.attrs and self.value(name) is None and self[name] is not None:
            raise Open(self.apply, name)
        return self.apply.values[name]

    def unless(self, name: str, default: object) -> Expr | None:
        """The attribute, or None where it is what the target takes by itself."""
        return None if is_literal(self[name], default) else self[name]

    def is_number(self, name: str) -> bool:
        """Whether the tensor input of that name is written as a Python number."""
        return self.var(name) in self.numbers

    def var(self, name: str) -> Var | None:
        """The tensor input of that name."""
        names = [n.rstrip("?") for n in (*self.op.inputs, *self.op.weights)]
        return self.apply.inputs[names.index(name)]

    @property
    def x(self) -> Var:
        """The first tensor input."""
        first = next(v for v in self.apply.inputs if v is not None)
        return first

    def fill(self, template: str, **more: Part) -> Expr:
        """The template with these parts and `more`."""
        return tree(template, **{**self._parts, **more})

    def _attribute(self, key: str) -> Expr | None:
        if key not in self.apply.attrs:
            value = self.apply.values[key]
            if not hasattr(value, "tolist"):
                return literal(value)
            return literal(value.tolist())
        found = self.apply.attrs[key]
        kind = self.op.config[key].kind
        if kind in ("axis", "axes", "new_axis", "new_axes"):
            found = self._axes(found, made=kind.startswith("new"))
        if isinstance(found, ast.Constant) and found.value is None:
            return None
        return self.place(found)

    def _axes(self, given: Expr, *, made: bool) -> Expr:
        """Axes as they are stored: of the first input, or of what is `made`."""
        tensors = self.apply.outputs if made else self.apply.inputs
        order = next((v.order for v in tensors if v is not None), None)
        value = number(given)
        if order is None or value is None:
            return given
        if isinstance(value, tuple):
            return literal(tuple(sorted(order.index(axis) for axis in value)))
        return literal(order.index(value))


def exponent(p: Parts, most: float = math.inf) -> Expr:
    """The exponent of `x**2.0` as it is written in `x**2`, for whole numbers up to `most`."""
    power = number(p["b"])
    whole = isinstance(power, float) and power.is_integer() and abs(power) <= most
    return literal(int(power)) if whole and p.is_number("b") else p["b"]


def spell(rules: Mapping[str, Rule], parts: Parts, target: str) -> Expr:
    """What the target writes for an op; MlcError `op` if it has no row and no body was put in."""
    rule = rules.get(parts.op.name)
    if rule is None:
        raise MlcError("unsupported", f"{target} has no spelling of {parts.op.name}")
    return parts.fill(rule) if isinstance(rule, str) else rule(parts)
