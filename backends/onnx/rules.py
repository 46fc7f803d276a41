"""How each op is spelled in ONNX, opset 21. An op without a row is written as its body.

A rule takes the writer, the node, and the names of its inputs (None where one is absent), and gives
the name of the result, or a tuple of names. `PLAIN` holds the ops whose node has no attributes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from ...compiler.array import np
from ...compiler.dim import Dim, Size
from ...compiler.graph import Node, Type, Value
from ...compiler.ops.index import slices
from ...compiler.ops.shape import permutation, resolved_shape
from ...compiler.ops.window import Window
from . import control, images
from .places import PLACES
from .recurrent import RECURRENT
from .writer import DTYPES, LAST, Writer

Rule: TypeAlias = "Callable[..., str | tuple[str, ...]]"

PLAIN: Mapping[str, str] = {
    "add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "neg": "Neg", "pow": "Pow",
    "maximum": "Max", "minimum": "Min",
    "equal": "Equal", "less": "Less", "less_equal": "LessOrEqual", "greater": "Greater",
    "greater_equal": "GreaterOrEqual",
    "logical_and": "And", "logical_or": "Or", "logical_not": "Not", "logical_xor": "Xor",
    "isnan": "IsNaN", "isinf": "IsInf",
    "abs": "Abs", "sign": "Sign", "floor": "Floor", "ceil": "Ceil", "round": "Round",
    "exp": "Exp", "log": "Log", "sqrt": "Sqrt", "reciprocal": "Reciprocal", "erf": "Erf",
    "sin": "Sin", "cos": "Cos", "tan": "Tan", "asin": "Asin", "acos": "Acos", "atan": "Atan",
    "sinh": "Sinh", "cosh": "Cosh", "tanh": "Tanh",
    "relu": "Relu", "sigmoid": "Sigmoid", "softplus": "Softplus", "softsign": "Softsign",
    "mish": "Mish", "hard_swish": "HardSwish",
    "matmul": "MatMul",
}  # fmt: skip
"""Ops that are one node of the same inputs."""


def _op(kind: str, **attrs: str) -> Rule:
    """One node, whose attributes are those of the op named here."""

    def rule(w: Writer, n: Node, *inputs: str | None) -> str:
        return w(kind, *inputs, **{name: n.attrs[ours] for name, ours in attrs.items()})

    return rule


def _same(w: Writer, n: Node, x: str) -> str:
    return x


# --------------------------------------------------------------------------------- elementwise


def _constant(w: Writer, n: Node) -> str:
    value, dtype = n.attrs["value"], n.attrs["dtype"]
    return w.number(value, dtype) if isinstance(value, Size) else w.constant(value, dtype)


def _where(w: Writer, n: Node, condition: str, a: str, b: str) -> str:
    if n.output.type.dtype != "bool":
        return w("Where", condition, a, b)
    return w("Or", w("And", condition, a), w("And", w("Not", condition), b))


def _mod(w: Writer, n: Node, a: str, b: str) -> str:
    """The remainder with the sign of b: for floats, ONNX has only that with the sign of a."""
    if not n.output.type.floating:
        return w("Mod", a, b)
    zero = w.constant(0, n.output.type.dtype)
    rest = w("Mod", a, b, fmod=1)
    differ = w("Xor", w("Less", rest, zero), w("Less", b, zero))
    moved = w("And", differ, w("Not", w("Equal", rest, zero)))
    return w("Where", moved, w("Add", rest, b), rest)


def _floor_div(w: Writer, n: Node, a: str, b: str) -> str:
    """(a - mod(a, b)) / b, which is whole; Div of integers would round towards zero."""
    quotient = w("Div", w("Sub", a, _mod(w, n, a, b)), b)
    return w("Round", quotient) if n.output.type.floating else quotient


def _clamp(w: Writer, n: Node, x: str) -> str:
    dtype = n.output.type.dtype
    ends = [None if n.attrs[end] is None else w.constant(n.attrs[end], dtype) for end in _ENDS]
    return w("Clip", x, *ends)


_ENDS = ("min", "max")


def _cast(w: Writer, n: Node, x: str) -> str:
    return w("Cast", x, to=DTYPES[n.attrs["dtype"]])


def _prelu(w: Writer, n: Node, x: str, weight: str) -> str:
    spatial = n.output.type.rank - 2 if n.attrs["per_channel"] else 0
    if spatial > 0:
        weight = w("Reshape", weight, w.ints(-1, *(1,) * spatial))
    elif n.output.type.rank == 0:
        weight = w("Reshape", weight, w.ints())
    return w("PRelu", x, weight)


# ------------------------------------------------------------------------------------ reductions


def _reduce(kind: str) -> Rule:
    def rule(w: Writer, n: Node, x: str) -> str:
        axes = n.attrs["axes"]
        if axes == ():
            return x
        return w(kind, x, None if axes is None else w.ints(*axes), keepdims=int(n.attrs["keep"]))

    return rule


def _reduce_bool(kind: str) -> Rule:
    def rule(w: Writer, n: Node, x: str) -> str:
        number = w("Cast", x, to=DTYPES["i32"])
        result = _reduce(kind)(w, n, number)
        assert isinstance(result, str)
        return w("Cast", result, to=DTYPES["bool"])

    return rule


def _arg(kind: str) -> Rule:
    def rule(w: Writer, n: Node, x: str) -> str:
        place = w(kind, x, axis=n.attrs["axis"], keepdims=int(n.attrs["keep"]))
        return w("Cast", place, to=DTYPES["i32"])

    return rule


# ---------------------------------------------------------------------------------------- shapes


def _reshape(w: Writer, n: Node, x: str) -> str:
    return reshaped(w, x, _type(n), resolved_shape(_type(n), n.attrs["shape"]))


def _flatten(w: Writer, n: Node, x: str) -> str:
    if n.output.type.rank == 2 and n.attrs["start"] == 1:
        return w("Flatten", x, axis=1)
    return reshaped(w, x, _type(n), n.output.type.shape)


def reshaped(w: Writer, x: str, type: Type, shape: Sequence[Dim]) -> str:
    """`x` of this type in another shape; sizes that it has at the same place need no node."""
    sizes = [
        0 if i < type.rank and isinstance(size, Size) and size == type.shape[i] else size
        for i, size in enumerate(shape)
    ]
    if sum(isinstance(size, Size) for size in sizes) == 1:
        sizes = [-1 if isinstance(size, Size) else size for size in sizes]
    return w("Reshape", x, w.vector(sizes))


def _flip(w: Writer, n: Node, x: str) -> str:
    axes = n.attrs["axes"]
    backwards = w.ints(*[-1] * len(axes))
    return w("Slice", x, backwards, w.ints(*[-LAST] * len(axes)), w.ints(*axes), backwards)


def _expand(w: Writer, n: Node, x: str) -> str:
    before, shape = _type(n).shape, n.attrs["shape"]
    lead = len(shape) - len(before)
    kept = (1 if i >= lead and size == before[i - lead] else size for i, size in enumerate(shape))
    return w("Expand", x, w.vector(tuple(kept)))


def _split(w: Writer, n: Node, x: str) -> tuple[str, ...]:
    parts = len(n.outputs)
    return w.many("Split", parts, x, axis=n.attrs["axis"], num_outputs=parts)


def _pad(w: Writer, n: Node, x: str) -> str:
    pads, mode = n.attrs["pads"], n.attrs["mode"]
    sizes = (*(low for low, _ in pads), *(high for _, high in pads))
    fill = w.constant(n.attrs["value"], n.output.type.dtype) if mode == "constant" else None
    return w("Pad", x, w.vector(sizes), fill, mode=mode)


def _slice(w: Writer, n: Node, x: str) -> str:
    type, names = _type(n), ("starts", "ends", "steps", "axes")
    cuts = slices(type, *(n.attrs[name] for name in names))
    ends = [LAST if end == type.shape[axis] else end for axis, _, end, _ in cuts]
    steps = tuple(step for *_, step in cuts)
    parts = [w.vector([start for _, start, _, _ in cuts]), w.vector(ends)]
    parts.append(w.ints(*(axis for axis, *_ in cuts)))
    return w("Slice", x, *parts, w.ints(*steps) if set(steps) != {1} else None)


# ------------------------------------------------------------------------- indices and sequences


def _embedding(w: Writer, n: Node, index: str, weight: str) -> str:
    return w("Gather", weight, index)


def _iota(w: Writer, n: Node) -> str:
    size, dtype = n.attrs["size"], n.attrs["dtype"]
    ends = (w.constant(0, "i64"), w.number(size, "i64"), w.constant(1, "i64"))
    places = w("Range", *ends)
    return places if dtype == "i64" else w("Cast", places, to=DTYPES[dtype])


def _cumsum(w: Writer, n: Node, x: str) -> str:
    return w("CumSum", x, w.constant(n.attrs["axis"], "i64"))


def _triangle(upper: int) -> Rule:
    def rule(w: Writer, n: Node, x: str) -> str:
        return w("Trilu", x, w.constant(n.attrs["k"], "i64"), upper=upper)

    return rule


# ------------------------------------------------------------------------------- layers of weights


def _linear(w: Writer, n: Node, x: str, weight: str, bias: str | None) -> str:
    if _type(n).rank == 2:
        return w("Gemm", x, weight, bias, transB=1)
    y = w("MatMul", x, w("Transpose", weight, perm=[1, 0]))
    return w("Add", y, bias) if bias else y


def _placed(w: Writer, n: Node, x: str, window: Window) -> tuple[str, list[int]]:
    """A convolution's input, padded here if the pads are no numbers, and the pads still to do."""
    if all(isinstance(pad, int) for pair in window.pads for pad in pair):
        return x, _flat(window.pads)
    sides = [(0, 0), (0, 0), *window.pads]
    sizes = (*(low for low, _ in sides), *(high for _, high in sides))
    zero = w.constant(0, n.output.type.dtype)
    return w("Pad", x, w.vector(sizes), zero), [0] * 2 * len(window.pads)


def _flat(pads: Sequence[tuple[Dim, Dim]]) -> list[int]:
    """Pads as ONNX orders them: all starts, then all ends."""
    sides = (*(low for low, _ in pads), *(high for _, high in pads))
    return [size for size in sides if isinstance(size, int)]


def _window(n: Node) -> Window:
    names = ("kernel", "stride", "pad", "dilation", "ceil")
    given = {name: n.attrs[name] for name in names if name in n.attrs}
    return Window.of(_type(n).shape[2:], **given)


def _conv(w: Writer, n: Node, x: str, weight: str, bias: str | None) -> str:
    window = _window(n)
    x, pads = _placed(w, n, x, window)
    return w(
        "Conv", x, weight, bias, kernel_shape=window.kernel, strides=window.stride, pads=pads,
        dilations=window.dilation, group=n.attrs["groups"],
    )  # fmt: skip


def _conv_transpose(w: Writer, n: Node, x: str, weight: str, bias: str | None) -> str:
    window, more = _window(n), n.attrs["output_pad"]
    more = tuple(more) if isinstance(more, tuple) else (more,) * len(window.kernel)
    attrs = {"kernel_shape": window.kernel, "strides": window.stride,
             "dilations": window.dilation, "group": n.attrs["groups"]}  # fmt: skip
    if all(isinstance(size, int) for size in (*more, *(s for pair in window.pads for s in pair))):
        pads = {"pads": _flat(window.pads), "output_padding": more}
        return w("ConvTranspose", x, weight, bias, **attrs, **pads)
    whole = w("ConvTranspose", x, weight, **attrs)
    cuts = [-1 * low for low, _ in window.pads]
    ends = [extra - high for (_, high), extra in zip(window.pads, more, strict=True)]
    zero = w.constant(0, n.output.type.dtype)
    y = w("Pad", whole, w.vector((0, 0, *cuts, 0, 0, *ends)), zero)
    return w("Add", y, w("Reshape", bias, w.ints(-1, *(1,) * len(more)))) if bias else y


def pool_window(n: Node) -> tuple[Window, tuple[tuple[Dim, Dim], ...]]:
    """The window of a pool, and its pads as far as the last window reaches."""
    window = _window(n)
    return window, window.reach(_type(n).shape[2:])


def _max_pool(w: Writer, n: Node, x: str) -> str:
    window, pads = pool_window(n)
    return w(
        "MaxPool", x, kernel_shape=window.kernel, strides=window.stride, pads=_flat(pads),
        dilations=window.dilation,
    )  # fmt: skip


def _avg_pool(w: Writer, n: Node, x: str) -> str:
    window, pads = pool_window(n)
    return w(
        "AveragePool", x, kernel_shape=window.kernel, strides=window.stride, pads=_flat(pads),
        count_include_pad=int(n.attrs["count_pad"]),
    )  # fmt: skip


# ----------------------------------------------------------------------------------------- norms


def _affine(w: Writer, type: Type, sizes: Sequence[Dim], *given: str | None) -> tuple[str, ...]:
    """Weight and bias as given; ones and zeros in place of what is absent."""
    shape = [int(size) for size in sizes if isinstance(size, int)]
    return tuple(
        name or w.constant(np.full(shape, 1 - i), type.dtype) for i, name in enumerate(given)
    )


def _layer_norm(w: Writer, n: Node, x: str, weight: str | None, bias: str | None) -> str:
    axis = n.attrs["axes"][0]
    (scale,) = _affine(w, _type(n), _type(n).shape[axis:], weight)
    return w("LayerNormalization", x, scale, bias, axis=axis, epsilon=n.attrs["eps"])


def _group_norm(w: Writer, n: Node, x: str, weight: str | None, bias: str | None) -> str:
    both = _affine(w, _type(n), _type(n).shape[1:2], weight, bias)
    attrs = {"epsilon": n.attrs["eps"], "num_groups": n.attrs["groups"]}
    return w("GroupNormalization", x, *both, **attrs)


def _instance_norm(w: Writer, n: Node, x: str, weight: str | None, bias: str | None) -> str:
    both = _affine(w, _type(n), _type(n).shape[1:2], weight, bias)
    return w("InstanceNormalization", x, *both, epsilon=n.attrs["eps"])


def _batch_norm(
    w: Writer, n: Node, x: str, weight: str | None, bias: str | None, mean: str, var: str
) -> tuple[str, ...]:
    statistics = n.inputs[3]
    assert statistics is not None
    both = _affine(w, _type(n), statistics.type.shape, weight, bias)
    return w("BatchNormalization", x, *both, mean, var, epsilon=n.attrs["eps"]), mean, var


def _type(n: Node) -> Type:
    """The type of the first input."""
    value = n.inputs[0]
    assert isinstance(value, Value)
    return value.type


ROWS: Mapping[str, Rule] = {
    **{name: _op(kind) for name, kind in PLAIN.items()},
    "constant": _constant,
    "not_equal": lambda w, n, a, b: w("Not", w("Equal", a, b)),
    "floor_div": _floor_div,
    "mod": _mod,
    "clamp": _clamp,
    "where": _where,
    "cast": _cast,
    "identity": _same,
    "stop_gradient": _same,
    "relayout": _same,
    # activations
    "leaky_relu": _op("LeakyRelu", alpha="slope"),
    "hard_sigmoid": lambda w, n, x: w("HardSigmoid", x, alpha=1 / 6, beta=0.5),
    "elu": _op("Elu", alpha="alpha"),
    "celu": _op("Celu", alpha="alpha"),
    "selu": _op("Selu"),
    "hard_shrink": lambda w, n, x: w("Shrink", x, lambd=n.attrs["bound"], bias=0.0),
    "soft_shrink": lambda w, n, x: w("Shrink", x, lambd=n.attrs["bound"], bias=n.attrs["bound"]),
    "gelu": _op("Gelu", approximate="approximate"),
    "prelu": _prelu,
    "softmax": _op("Softmax", axis="axis"),
    "log_softmax": _op("LogSoftmax", axis="axis"),
    # reductions
    "sum": _reduce("ReduceSum"),
    "mean": _reduce("ReduceMean"),
    "prod": _reduce("ReduceProd"),
    "max": _reduce("ReduceMax"),
    "min": _reduce("ReduceMin"),
    "logsumexp": _reduce("ReduceLogSumExp"),
    "l2_norm": _reduce("ReduceL2"),
    "any": _reduce_bool("ReduceMax"),
    "all": _reduce_bool("ReduceMin"),
    "argmax": _arg("ArgMax"),
    "argmin": _arg("ArgMin"),
    # shapes
    "reshape": _reshape,
    "flatten": _flatten,
    "transpose": lambda w, n, x: w(
        "Transpose", x, perm=permutation(_type(n).rank, n.attrs["axes"])
    ),
    "flip": _flip,
    "squeeze": lambda w, n, x: w("Squeeze", x, w.ints(*n.attrs["axes"])),
    "unsqueeze": lambda w, n, x: w("Unsqueeze", x, w.ints(*n.attrs["axes"])),
    "expand": _expand,
    "tile": lambda w, n, x: w("Tile", x, w.vector(n.attrs["repeats"])),
    "concat": _op("Concat", axis="axis"),
    "split": _split,
    "pad": _pad,
    "slice": _slice,
    # indices and sequences
    "gather": _op("Gather", axis="axis"),
    "gather_elements": _op("GatherElements", axis="axis"),
    "scatter_add": lambda w, n, x, index, updates: w(
        "ScatterElements", x, index, updates, axis=n.attrs["axis"], reduction="add"
    ),
    "embedding": _embedding,
    "iota": _iota,
    "cumsum": _cumsum,
    "tril": _triangle(0),
    "triu": _triangle(1),
    # layers
    "linear": _linear,
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "max_pool": _max_pool,
    "avg_pool": _avg_pool,
    **PLACES,
    "resize": images.resize,
    "pixel_shuffle": images.pixel_shuffle,
    "pixel_unshuffle": images.pixel_unshuffle,
    "local_response_norm": images.local_response_norm,
    "layer_norm": _layer_norm,
    "group_norm": _group_norm,
    "instance_norm": _instance_norm,
    "batch_norm": _batch_norm,
    "scan": control.scan,
    "if": control.choice,
    "while": control.loop,
    **RECURRENT,
    **dict.fromkeys(("dropout", "channel_dropout", "drop_path"), lambda w, n, x, keep: x),
}
"""The table: op -> how it is written."""
