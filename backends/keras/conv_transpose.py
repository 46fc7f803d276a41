"""Transposed convolutions: Keras' own, or a convolution of the image with zeros in between.

Keras' own has no groups, and not both a stride and a dilation.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...compiler.expr import Expr, literal
from ...compiler.graph import Weight
from ...compiler.program import Apply, Program, walk
from ...compiler.weight import Step
from ..source.parts import Parts
from ..source.tree import is_literal, number, tree
from .starts import STARTED, started
from .windows import around, each, ints, none, ones, pairs, rank, short


def stretches(apply: Apply) -> bool:
    """Whether it is written as a convolution of the stretched image."""
    x = apply.inputs[0]
    assert x is not None
    stride, dilation = (each(apply.attrs[name], x.type.rank - 2) for name in ("stride", "dilation"))
    return not is_literal(apply.attrs["groups"], 1) or not (ones(stride) or ones(dilation))


def conv_transpose(p: Parts) -> Expr:
    """Keras' own, unpadded, of which the padding is cut off."""
    if stretches(p.apply):
        return _stretched(p)
    count = rank(p)
    more: list[tuple[Expr, Expr]] = []
    crop: list[tuple[Expr, Expr]] = []
    for kernel, stride, dilation, extra, low, high in _axes(p):
        beyond = max(stride - dilation * (kernel - 1) - 1, 0)
        high = high - extra + beyond
        longer = -(-max(-high, 0) // stride)
        more.append((literal(0), literal(longer)))
        crop.append((literal(low), literal(high + longer * stride)))
    x = p["x"]
    if not none(more):
        x = p.fill(f"keras.layers.ZeroPadding{count}D({{rows}})({{x}})", rows=around(more))
    y = p.fill(
        f"keras.layers.Conv{count}DTranspose({{features}}, {{kernel}}, strides={{stride}}, "
        f"dilation_rate={{dilation}}, use_bias={{bias}}, {STARTED}, name={{name}})({{x}})",
        kernel=ints(p, "kernel"), stride=_unless_one(p, "stride"), x=x,
        dilation=_unless_one(p, "dilation"), bias=p.unless("bias", True), **started(p),
    )  # fmt: skip
    if none(crop):
        return y
    return tree(f"keras.layers.Cropping{count}D({{rows}})({{y}})", rows=around(crop), y=y)


def _stretched(p: Parts) -> Expr:
    """A convolution of the image with zeros between its elements."""
    count = rank(p)
    strides: list[Expr] = []
    more: list[tuple[Expr, Expr]] = []
    crop: list[tuple[Expr, Expr]] = []
    for kernel, stride, dilation, extra, low, high in _axes(p):
        reach = dilation * (kernel - 1)
        sides = reach - low, reach - high + extra - (stride - 1)
        strides.append(literal(stride))
        more.append((literal(max(sides[0], 0)), literal(max(sides[1], 0))))
        crop.append((literal(max(-sides[0], 0)), literal(max(-sides[1], 0))))
    x = p["x"]
    if not ones(strides):
        x = tree("Stretch((*{strides},))({x})", strides=strides, x=x)
    if not none(more):
        x = tree(f"keras.layers.ZeroPadding{count}D({{rows}})({{x}})", rows=around(more), x=x)
    if not none(crop):
        x = tree(f"keras.layers.Cropping{count}D({{rows}})({{x}})", rows=around(crop), x=x)
    return p.fill(
        f"keras.layers.Conv{count}D({{features}}, {{kernel}}, dilation_rate={{dilation}}, "
        f"groups={{groups}}, use_bias={{bias}}, {STARTED}, name={{name}})({{x}})",
        kernel=ints(p, "kernel"), x=x, dilation=_unless_one(p, "dilation"),
        groups=p.unless("groups", 1), bias=p.unless("bias", True), **started(p, kernel=False),
    )  # fmt: skip


def _axes(p: Parts) -> Iterator[tuple[int, ...]]:
    """Kernel, stride, dilation, output_pad, and the padding at both ends, of each axis."""
    count = rank(p)
    names = ("kernel", "stride", "dilation", "output_pad")
    columns = [[_known(p, name, e) for e in each(p[name], count)] for name in names]
    for *sizes, row in zip(*columns, pairs(p["pad"], count), strict=True):
        yield (*sizes, *(_known(p, "pad", e) for e in row))


def _known(p: Parts, name: str, size: Expr) -> Any:
    """The number; MlcError where only hyper-parameters tell it."""
    found = number(size)
    if found is None:
        p.fixed(name)
    return found


def _unless_one(p: Parts, name: str) -> Expr | None:
    items = each(p[name], rank(p))
    return None if ones(items) else short(items)


def turned(weight: Weight) -> tuple[Step, ...]:
    """(in, out / groups, *kernel) as the kernel of a convolution: (*kernel, in / groups, out)."""
    assert weight.layer is not None
    groups: int = weight.layer.attrs["groups"]
    rank = weight.type.rank
    inputs, outputs, *kernel = (size for size in weight.type.shape if isinstance(size, int))
    within = inputs // groups
    split = (groups, within, outputs, *kernel)
    return (
        Step("flip", tuple(range(2, rank))),
        Step("reshape", ((inputs, outputs, *kernel), split)),
        Step("permute", (*range(3, rank + 1), 1, 0, 2)),
        Step("reshape", ((*kernel, within, groups, outputs), (*kernel, within, groups * outputs))),
    )


def stretch(program: Program, package: str) -> Iterator[str]:
    """The layer that stretches an image as text, if the program needs it."""
    for cls in program.classes:
        for s in walk(cls.body):
            if isinstance(s, Apply) and s.op.name == "conv_transpose" and stretches(s):
                yield STRETCH.replace("{package}", package)
                return


STRETCH = '''@keras.saving.register_keras_serializable(package="{package}")
class Stretch(keras.layers.Layer):
    """Puts zeros behind the elements of an image: along each axis, its stride less one.

    (B, H, W, C) -> (B, H * strides[0], W * strides[1], C), and likewise with other axes.
    """

    def __init__(self, strides, **kwargs):
        super().__init__(**kwargs)
        self.strides = strides

    def call(self, x):
        for axis, stride in enumerate(self.strides, 1):
            shape = keras.ops.shape(x)
            pads = [(0, 0)] * (len(shape) + 1)
            pads[axis + 1] = (0, stride - 1)
            x = keras.ops.pad(keras.ops.expand_dims(x, axis + 1), pads)
            x = keras.ops.reshape(x, (*shape[:axis], shape[axis] * stride, *shape[axis + 1 :]))
        return x

    def compute_output_shape(self, input_shape):
        B, *sizes, C = input_shape
        pairs = zip(sizes, self.strides, strict=True)
        return (B, *(None if size is None else size * s for size, s in pairs), C)

    def get_config(self):
        return {**super().get_config(), "strides": self.strides}
'''


__all__ = ["conv_transpose", "stretch", "stretches", "turned"]
