"""Inputs that may be left out: straight into a layer, which puts the default in their place."""

from __future__ import annotations

from collections.abc import Mapping

from ...compiler.diagnose import MlcError
from ...compiler.dim import Size
from ...compiler.expr import literal
from ...compiler.graph import Input
from ...compiler.program import Apply, Call, Class, Var
from ..source.computation import users
from ..source.tree import real, text
from .reserved import argument
from .rules import dtype

MASKS = ("keep", "mask")
"""The tensors that attention may do without: true everywhere is as good as none."""


def masks_only(cls: Class, var: Var) -> bool:
    """Whether attentions alone take the tensor, as masks."""
    return all(
        _masked(u, var) if isinstance(u, (Apply, Call)) else False
        for u in users(cls).get(var, [])
    )  # fmt: skip


def _masked(statement: Apply | Call, var: Var) -> bool:
    if isinstance(statement, Call):
        inside = dict(zip(statement.cls.inputs.values(), statement.inputs, strict=True))
        return all(masks_only(statement.cls, own) for own, given in inside.items() if given is var)
    names = [name.rstrip("?") for name in (*statement.op.inputs, *statement.op.weights)]
    slots = [n for n, v in zip(names, statement.inputs, strict=False) if v is var]
    return statement.op.name == "attention" and all(slot in MASKS for slot in slots)


class Default:
    """The layer of one optional input: it takes the tensors that its sizes are read from, too."""

    def __init__(self, cls: Class, var: Var, given: Input, name: str) -> None:
        self.var = var
        self.given = given
        self.name = name
        others = [v for v in cls.inputs.values() if v is not var]
        self.sources: list[Var] = []
        self.shape: list[str] = []
        for size in var.type.shape:
            if isinstance(size, Size):
                found = next(((v, i) for v in others for i, s in enumerate(v.type.shape)
                              if s == size), None)  # fmt: skip
                if found is None:
                    raise MlcError(
                        "unsupported",
                        f"when {var.name} is left out, no other input tells its size {size}",
                        help=f"make {var.name} an input that must be given",
                    )
                source, axis = found
                if source not in self.sources:
                    self.sources.append(source)
                place = source.order.index(axis) if source.order else axis
                self.shape.append(f"keras.ops.shape({argument(source.name)})[{place}]")
            else:
                self.shape.append(str(size))
        self.shape = [self.shape[axis] for axis in var.order or range(var.type.rank)]

    def source(self, package: str) -> str:
        """The class as text."""
        name, kind = argument(self.var.name), text(dtype(self.var.type.dtype))
        value = self.given.default
        shown = text(real(float(value)) if self.var.type.floating else literal(value))
        arguments = ", ".join([*(argument(v.name) for v in self.sources), name])
        shape = ", ".join(self.shape) + ("," if len(self.shape) == 1 else "")
        return (
            f'@keras.saving.register_keras_serializable(package="{package}")\n'
            f"class {self.name}(keras.layers.Layer):\n"
            f'    """Gives {name}; {shown} everywhere where it is left out."""\n\n'
            f"    def call(self, {arguments}=None):\n"
            f"        if {name} is not None:\n            return {name}\n"
            f"        return keras.ops.full(({shape}), {shown}, dtype={kind})\n\n"
            f"    def compute_output_spec(self, {arguments}=None):\n"
            f"        return keras.KerasTensor({name}.shape, dtype={kind})\n"
        )


def defaults(cls: Class, optional: Mapping[str, Input]) -> dict[Var, Input]:
    """The optional inputs whose default must be put in, in source order."""
    return {
        cls.inputs[name]: given
        for name, given in optional.items()
        if given.default is not True or not masks_only(cls, cls.inputs[name])
    }


__all__ = ["Default", "defaults"]
