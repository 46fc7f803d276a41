"""Convolutions whose weights are tensors, and the windows that their gradients are made of."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ...compiler.dim import Dim
from ...compiler.expr import Expr, literal
from ...compiler.graph import Node
from ...compiler.ops.window import Window
from ...compiler.program import Apply
from ..source.tree import number, real, tree
from .rules import Parts, Rule, windows

WINDOWS = '''\
def windows(
    self,
    x: ov.Output,
    kernel: list[int],
    strides: list[int],
    dilations: list[int],
    begin: list[int],
    end: list[int],
    value: float = 0.0,
) -> ov.Node:
    """The windows that move over x, padded with a value: (B, C, *places, *kernel)."""
    axes = [*range(2, len(kernel) + 2)]
    x = ops.pad(x, [0, 0, *begin], [0, 0, *end], "constant", np.float32(value))
    taps = []
    for tap in itertools.product(*map(range, kernel)):
        start = [t * d for t, d in zip(tap, dilations, strict=True)]
        left = [(k - 1 - t) * d for k, t, d in zip(kernel, tap, dilations, strict=True)]
        stop = [-n if n else 2**31 - 1 for n in left]
        taps.append(ops.unsqueeze(ops.slice(x, start, stop, strides, axes), -1))
    return ops.reshape(ops.concat(taps, -1), [0, 0, *[0] * len(axes), *kernel], special_zero=True)
'''

ADD_WINDOWS = '''\
def add_windows(
    self,
    x: ov.Output,
    kernel: list[int],
    strides: list[int],
    dilations: list[int],
    begin: list[int],
    end: list[int],
    rest: list[int],
) -> ov.Node:
    """The adjoint of `windows`: adds (B, C * taps, *places) up where the windows overlap, `rest`
    being what lies behind the last one."""
    taps = math.prod(kernel)
    channels = x.get_output_partial_shape(0)[1].get_length() // taps
    one = np.eye(taps, dtype=np.float32).reshape(1, taps, 1, *kernel).repeat(channels, 0)
    window = strides, None, begin, end, dilations, "explicit", rest
    if channels == 1:  # which the CPU cannot do as one group
        return ops.convolution_backprop_data(x, one[0], *window)
    return ops.group_convolution_backprop_data(x, one, *window)
'''


def has_row(node: Node) -> bool:
    """Whether a row of `ROWS` says what the node computes: sizes that it asks for are numbers."""
    if node.op.name not in ROWS or node.attrs.get("ceil") or node.output.type.dtype != "f32":
        return False
    given = node.inputs[0]
    assert given is not None
    return all(isinstance(shape[1], int) for shape in (given.type.shape, node.output.type.shape))


def read_off(apply: Apply) -> Sequence[Dim]:
    """The sizes that a row reads off the types of tensors."""
    if "groups" not in apply.op.config:
        return apply.outputs[0].type.shape
    grouped = number(apply.attrs["groups"]) != 1
    weight = apply.inputs[1]
    assert weight is not None
    cut = number(apply.attrs.get("output_pad", literal(0))) is None
    return [*weight.type.shape[1:] * grouped, *apply.outputs[0].type.shape[2:] * cut]


def _kernel(p: Parts, groups: int) -> Expr:
    """The weight; OpenVINO wants an axis of groups before all others."""
    weight = p.var("weight")
    if groups == 1 or weight is None:
        return p.fill("{weight}")
    shape = p.place(literal([groups, -1, *weight.type.shape[1:]]))
    return p.fill("ops.reshape({weight}, {shape}, special_zero=False)", shape=shape)


def _with_bias(p: Parts, made: Expr) -> Expr:
    if p["bias_tensor"] is None:
        return made
    shape = literal([1, -1, *[1] * (p.x.type.rank - 2)])
    bias = p.fill("ops.reshape({bias_tensor}, {shape}, special_zero=False)", shape=shape)
    return tree("ops.add({y}, {bias})", y=made, bias=bias)


def _conv(p: Parts) -> Expr:
    groups = p.value("groups")
    op = "convolution" if groups == 1 else "group_convolution"
    made = p.fill(
        f"ops.{op}({{x}}, {{w}}, {{strides}}, {{begin}}, {{end}}, {{dilations}})",
        **{**windows(p), "w": _kernel(p, groups)},
    )
    return _with_bias(p, made)


def _conv_transpose(p: Parts) -> Expr:
    """With more at the end than is wanted, where only the run tells how much that is."""
    groups = p.value("groups")
    op = "convolution_backprop_data" if groups == 1 else "group_convolution_backprop_data"
    lists = windows(p)
    more = number(p.apply.attrs["output_pad"])
    count = p.x.type.rank - 2
    exact = more is not None
    pads = [s - 1 for s in number(lists["strides"])] if more is None else more
    pads = [pads] * count if isinstance(pads, int) else list(pads)
    made = p.fill(
        f"ops.{op}({{x}}, {{w}}, {{strides}}, None, {{begin}}, {{end}}, {{dilations}}, "
        "'explicit', {more})",
        **{**lists, "w": _kernel(p, groups), "more": literal(pads)},
    )
    return _with_bias(p, made if exact else _cut(p, made))


def _cut(p: Parts, made: Expr) -> Expr:
    """The first elements of the spatial axes, as many as the result has."""
    sizes = p.apply.outputs[0].type.shape[2:]
    count = len(sizes)
    return tree(
        "ops.slice({y}, {start}, {stop}, {step}, {axes})",
        y=made, start=literal([0] * count),
        stop=p.sizes.shape([p.place(literal(size)) for size in sizes]),
        step=literal([1] * count), axes=literal([*range(2, count + 2)]),
    )  # fmt: skip


def _windows(p: Parts) -> Expr:
    value = p.apply.values["value"]
    return p.fill(
        "self.windows({x}, {kernel}, {strides}, {dilations}, {begin}, {end}, {fill})",
        **{**windows(p), "fill": real(value) if value else None},
    )


def _windows_add(p: Parts) -> Expr:
    """(B, C, *places, *kernel) as (B, C * taps, *places) for the method; then what is wanted."""
    shape = p.x.type.shape
    count = len(p.apply.outputs[0].type.shape) - 2
    places = [*range(2, count + 2)]
    order = [0, 1, *(axis + count for axis in places), *places]
    lists = _given(p, count)
    channels = shape[1] * math.prod(number(lists["kernel"]))
    after = [shape[0], channels, *(shape[axis] for axis in places)]
    sizes = [p.place(literal(size)) for size in after]
    flat = p.fill(
        "ops.reshape(ops.transpose({x}, {order}), {shape}, special_zero={zero})",
        order=literal(order), **p.sizes.reshaped([shape[axis] for axis in order], after, sizes),
    )  # fmt: skip
    made = tree(
        "self.add_windows({flat}, {kernel}, {strides}, {dilations}, {begin}, {end}, {rest})",
        **lists, flat=flat,
    )  # fmt: skip
    known = all(isinstance(size, int) for size in p.apply.outputs[0].type.shape[2:])
    return made if known or set(number(lists["strides"])) == {1} else _cut(p, made)


def _given(p: Parts, count: int) -> dict[str, Expr]:
    """Kernel, strides, dilations and padding of windows over so many axes; `rest` is what lies
    behind the last one, or the most that it can be."""
    names = ("kernel", "stride", "pad", "dilation")
    given = {name: p.fixed(name) for name in names}
    window = Window.of((0,) * count, **given)
    lists = {
        "kernel": window.kernel, "strides": window.stride, "dilations": window.dilation,
        "begin": [low for low, _ in window.pads], "end": [high for _, high in window.pads],
        "rest": [
            (size + sum(pads) - extent) % stride if isinstance(size, int) else stride - 1
            for size, pads, extent, stride in zip(
                p.apply.outputs[0].type.shape[2:], window.pads, window.extent, window.stride,
                strict=True,
            )
        ],
    }  # fmt: skip
    return {name: literal(list(values)) for name, values in lists.items()}


ROWS: Mapping[str, Rule] = {
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "windows": _windows,
    "windows_add": _windows_add,
}
"""Ops on weights that are inputs, and those that reverse mode makes."""
