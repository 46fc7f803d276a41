"""Attention: of given queries, keys and values, and with its projections.

Masks are true where attending is allowed. A causal mask is aligned at the end: the last query sees
every key. A row that may attend to nothing gives zeros.
"""

from __future__ import annotations

import math
from typing import Any

from ..array import np
from ..dim import Dim
from ..graph import Type, Value
from ..op import Build, Config, Op, Param, TypeMismatch, require_divides, require_equal
from .broadcast import (
    broadcast,
    require_bool,
    require_floating,
    require_same_dtype,
    unbroadcast,
)
from .compare import LOGICAL_AND
from .elementwise import ADD, MUL, SUB, WHERE
from .function import RSQRT
from .linear import LINEAR, MATMUL, linear_params, require_weight
from .reduce import SUM
from .sequence import below_diagonal
from .shape import RESHAPE, TRANSPOSE, UNSQUEEZE, listed
from .softmax import SOFTMAX

_LOWEST = {"f16": -65504.0}
_CAUSAL = Config("bool", False, doc="whether a query sees only keys up to its own place")
_SCALE = Config("float", None, doc="what scores are multiplied by; 1 / sqrt(width), if not given")

# ----------------------------------------------------------------------------------------- sdpa


def _scores(q: Type, k: Type) -> Type:
    """The type of the scores (..., T, S); raises where q and k do not fit."""
    require_floating("sdpa", q, k)
    require_same_dtype("sdpa", q, k)
    if q.rank < 2 or k.rank < 2:
        raise TypeMismatch(f"sdpa takes (..., places, width), and gets {q} and {k}")
    message = f"sdpa of queries {q} and keys {k}: their widths must be equal"
    require_equal(q.shape[-1], k.shape[-1], message)
    stack = broadcast(*(Type(t.dtype, t.shape[:-2], t.labels[:-2]) for t in (q, k)))
    labels = (*stack.labels, q.labels[-2], k.labels[-2])
    return Type(q.dtype, (*stack.shape, q.shape[-2], k.shape[-2]), labels)


def _with_heads(q: Type, k: Type) -> Type:
    """Keys or values as if they had as many heads as `q`; raises where those do not divide."""
    message = f"sdpa of groups of heads takes (..., heads, places, width), and gets {q} and {k}"
    if q.rank < 3 or k.rank < 3:
        raise TypeMismatch(message)
    message = f"sdpa of {q} and {k}: {q.shape[-3]} heads do not divide into {k.shape[-3]} groups"
    require_divides(k.shape[-3], q.shape[-3], message)
    return k.with_(shape=(*k.shape[:-3], q.shape[-3], *k.shape[-2:]))


def _require_mask(op: str, mask: Type, scores: Type) -> None:
    require_bool(op, mask)
    message = f"{op}: a mask {mask} does not broadcast to the scores {scores}"
    if mask.rank > scores.rank:
        raise TypeMismatch(message)
    for size, wanted in zip(mask.shape[::-1], scores.shape[::-1], strict=False):
        if size != 1:
            require_equal(size, wanted, message)


def _sdpa_infer(
    q: Type, k: Type, v: Type, mask: Type | None, bias: Type | None, grouped: bool, **_: Any
) -> Type:
    if grouped:
        k, v = _with_heads(q, k), _with_heads(q, v)
    scores = _scores(q, k)
    require_same_dtype("sdpa", q, v)
    if v.rank < 2:
        raise TypeMismatch(f"sdpa takes (..., places, width), and gets values {v}")
    require_equal(k.shape[-2], v.shape[-2], f"sdpa of keys {k} and values {v}: unequal places")
    if mask is not None:
        _require_mask("sdpa", mask, scores)
    if bias is not None:
        require_same_dtype("sdpa", q, bias)
        _require_mask("sdpa", bias.with_(dtype="bool"), scores)
    heads = Type(q.dtype, scores.shape[:-2], scores.labels[:-2])
    stack = broadcast(heads, Type(v.dtype, v.shape[:-2], v.labels[:-2]))
    labels = (*stack.labels, q.labels[-2], v.labels[-1])
    return Type(q.dtype, (*stack.shape, q.shape[-2], v.shape[-1]), labels)


def _allowed(shape: tuple[int, ...], mask: Any, causal: bool) -> Any:
    """The mask of scores of this shape as an array, None where everything is allowed."""
    if not causal:
        return mask
    t, s = shape[-2:]
    seen = np.tri(t, s, s - t, dtype=bool)
    return seen if mask is None else mask & seen


def _shares_eval(q: Any, k: Any, mask: Any, bias: Any, causal: bool, scale: float | None) -> Any:
    scale = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    scores = np.matmul(q, np.swapaxes(k, -1, -2)) * np.asarray(scale, q.dtype)
    scores = scores if bias is None else scores + bias
    allowed = _allowed(scores.shape, mask, causal)
    if allowed is None:
        allowed = np.True_
    top = np.max(np.where(allowed, scores, -np.inf), -1, keepdims=True)
    shifted = np.where(allowed, scores - np.where(np.isneginf(top), 0, top), -np.inf)
    parts = np.exp(shifted).astype(q.dtype)
    total = parts.sum(-1, keepdims=True)
    return parts / np.where(total == 0, np.ones_like(total), total)


def _sdpa_eval(
    q: Any, k: Any, v: Any, mask: Any, bias: Any, grouped: bool = False, **attrs: Any
) -> Any:
    if grouped:
        k, v = (np.repeat(x, q.shape[-3] // x.shape[-3], -3) for x in (k, v))
    return np.matmul(_shares_eval(q, k, mask, bias, **attrs), v)


def _scaled(b: Build, x: Value, width: Dim, scale: float | None) -> Value:
    """`x` times the scale of scores."""
    factor: Value | float | None = b.inverse_root(width) if scale is None else scale
    if factor is None:
        factor = b(RSQRT, b.constant(width, x.type.dtype))
    result: Value = b(MUL, x, factor)
    return result


def _mask(b: Build, t: Dim, s: Dim, mask: Value | None, causal: bool) -> Value | None:
    """`_allowed` in the graph."""
    if not causal:
        return mask
    seen = below_diagonal(b, t, s, s - t)
    result: Value = seen if mask is None else b(LOGICAL_AND, mask, seen)
    return result


def _shares(
    b: Build, q: Value, k: Value, mask: Value | None, bias: Value | None, causal: bool,
    scale: float | None,
) -> Value:  # fmt: skip
    """How much each query takes of each key (..., T, S): rows sum to 1, or are zeros."""
    scores = b(MATMUL, _scaled(b, q, q.type.shape[-1], scale), b(TRANSPOSE, k))
    scores = scores if bias is None else b(ADD, scores, bias)
    allowed = _mask(b, q.type.shape[-2], k.type.shape[-2], mask, causal)
    if allowed is None:
        return _softmax(b, scores)
    lowest = _LOWEST.get(q.type.dtype, -3.0e38)
    shares = _softmax(b, b(WHERE, allowed, scores, lowest))
    result: Value = b(WHERE, allowed, shares, 0.0)
    return result


def _softmax(b: Build, scores: Value) -> Value:
    result: Value = b(SOFTMAX, scores, axis=-1)
    return result


def _sdpa_body(
    b: Build, q: Value, k: Value, v: Value, mask: Value | None, bias: Value | None,
    grouped: bool, **attrs: Any,
) -> Value:  # fmt: skip
    result: Value
    if not grouped:
        result = b(MATMUL, _shares(b, q, k, mask, bias, **attrs), v)
        return result
    y = b(SDPA, *_in_groups(b, q, k, v, mask, bias), **attrs)
    shape = (*y.type.shape[:-4], q.type.shape[-3], *y.type.shape[-2:])
    result = b(RESHAPE, y, shape=shape)
    return result


def _in_groups(
    b: Build, q: Value, k: Value, v: Value, mask: Value | None, bias: Value | None
) -> list[Any]:
    """The tensors with an axis of groups of heads before that of the heads of one."""
    groups = k.type.shape[-3]
    each = q.type.shape[-3] // groups

    def cut(x: Value | None) -> Value | None:
        if x is None or x.type.rank < 3:
            return x
        heads = (1, 1) if x.type.shape[-3] == 1 else (groups, each)
        shape = (*x.type.shape[:-3], *heads, *x.type.shape[-2:])
        result: Value = b(RESHAPE, x, shape=shape)
        return result

    one = [b(UNSQUEEZE, x, axes=(x.type.rank - 2,)) for x in (k, v)]
    return [cut(q), *one, cut(mask), cut(bias)]


def _sdpa_grad(
    b: Build, g: Value, y: Value, q: Value, k: Value, v: Value, mask: Value | None,
    bias: Value | None, causal: bool, scale: float | None, grouped: bool,
) -> list[Value | None]:  # fmt: skip
    if grouped:
        of, keys, values, *given = _in_groups(b, q, k, v, mask, bias)
        shape = (*g.type.shape[:-3], *of.type.shape[-4:-2], *g.type.shape[-2:])
        apart: Value = b(RESHAPE, g, shape=shape)
        attrs: dict[str, Any] = {"causal": causal, "scale": scale, "grouped": False}
        found = _sdpa_grad(b, apart, apart, of, keys, values, given[0], given[1], **attrs)
        pairs = zip(found, (q, k, v, mask, bias), strict=True)
        return [None if d is None or x is None else b(RESHAPE, d, shape=x.type.shape)
                for d, x in pairs]  # fmt: skip
    shares = _shares(b, q, k, mask, bias, causal, scale)
    dv = unbroadcast(b, b(MATMUL, b(TRANSPOSE, shares), g), v)
    dshares = b(MATMUL, g, b(TRANSPOSE, v))
    dq, dk, _none, dbias = _shares_slope(b, dshares, shares, q, k, bias, scale)
    return [dq, dk, dv, None, dbias]


def _shares_slope(
    b: Build, g: Value, shares: Value, q: Value, k: Value, bias: Value | None, scale: float | None
) -> list[Value | None]:
    """The gradients of q, k, mask and bias, given that of the shares."""
    slope = b(SUM, b(MUL, g, shares), axes=(-1,), keep=True)
    plain = b(MUL, shares, b(SUB, g, slope))
    dscores = _scaled(b, plain, q.type.shape[-1], scale)
    dq = unbroadcast(b, b(MATMUL, dscores, k), q)
    dk = unbroadcast(b, b(MATMUL, b(TRANSPOSE, dscores), q), k)
    return [dq, dk, None, None if bias is None else unbroadcast(b, plain, bias)]


_ROWS = ([[True, False, True], [False, False, False]], "bool")

SDPA = Op(
    "sdpa",
    inputs=("q", "k", "v", "mask?", "bias?"),
    config={
        "causal": _CAUSAL,
        "scale": _SCALE,
        "grouped": Config(
            "bool", False, doc="whether each head (axis -3) of k and v serves several of q"
        ),
    },
    infer=_sdpa_infer,
    eval=_sdpa_eval,
    body=_sdpa_body,
    grad=_sdpa_grad,
    rounding="body",
    samples=(
        {"q": (2, 3, 5, 4), "k": (2, 3, 7, 4), "v": (2, 3, 7, 6)},
        {"q": (2, 5, 4), "k": (2, 5, 4), "v": (2, 5, 4), "causal": True},
        {"q": (2, 2, 4), "k": (2, 5, 4), "v": (2, 5, 3), "causal": True, "scale": 0.3},
        {"q": (2, 5, 4), "k": (2, 3, 4), "v": (2, 3, 4), "causal": True},
        {"q": (2, 3, 5, 4), "k": (2, 1, 7, 4), "v": (7, 4), "mask": ((2, 1, 1, 7), "bool")},
        {"q": (2, 4), "k": (3, 4), "v": (3, 2), "mask": _ROWS},
        {"q": ((3, 4), "f32", -9.0, 9.0), "k": ((3, 4), "f32", -9.0, 9.0), "v": (3, 2),
         "mask": ((3, 3), "bool"), "causal": True},
        {"q": (2, 3, 5, 4), "k": (2, 3, 7, 4), "v": (2, 3, 7, 4), "bias": (3, 5, 7)},
        {"q": (2, 3, 5, 4), "k": (2, 3, 5, 4), "v": (2, 3, 5, 4), "bias": (2, 1, 1, 5),
         "mask": ((2, 1, 5, 5), "bool"), "causal": True},
        {"q": (2, 6, 5, 4), "k": (2, 3, 7, 4), "v": (2, 3, 7, 4), "grouped": True},
        {"q": (2, 6, 5, 4), "k": (2, 2, 5, 4), "v": (2, 2, 5, 3), "grouped": True, "causal": True,
         "mask": ((2, 1, 1, 5), "bool"), "bias": (6, 5, 5)},
    ),
    doc="Scaled dot-product attention: softmax(q @ transpose(k) * scale + bias) @ v, of q"
    " (..., T, width), k (..., S, width) and v (..., S, width of the result); mask and bias"
    " broadcast to (..., T, S).",
)  # fmt: skip

# ----------------------------------------------------------------------------- attention_shares


def _shares_infer(q: Type, k: Type, mask: Type | None, bias: Type | None, **_: Any) -> Type:
    scores = _scores(q, k)
    if mask is not None:
        _require_mask("attention_shares", mask, scores)
    if bias is not None:
        require_same_dtype("attention_shares", q, bias)
        _require_mask("attention_shares", bias.with_(dtype="bool"), scores)
    return scores


def _shares_grad(
    b: Build, g: Value, y: Value, q: Value, k: Value, mask: Value | None, bias: Value | None,
    scale: float | None, **_: Any,
) -> list[Value | None]:  # fmt: skip
    return _shares_slope(b, g, y, q, k, bias, scale)


ATTENTION_SHARES = Op(
    "attention_shares",
    inputs=("q", "k", "mask?", "bias?"),
    config={"causal": _CAUSAL, "scale": _SCALE},
    infer=_shares_infer,
    eval=_shares_eval,
    body=_shares,
    grad=_shares_grad,
    rounding="body",
    samples=(
        {"q": (2, 3, 5, 4), "k": (2, 3, 7, 4)},
        {"q": (2, 5, 4), "k": (2, 5, 4), "causal": True, "bias": (5, 5), "scale": 0.3},
        {"q": (2, 4), "k": (3, 4), "mask": _ROWS},
    ),
    doc="How much each query takes of each key: softmax(q @ transpose(k) * scale + bias), rows of"
    " (..., T, S) that sum to 1. For what sdpa does not do with them, such as dropout.",
)

# ------------------------------------------------------------------------------------ attention

_PARTS = ("query", "key", "value", "output")


def _attention_infer(
    x: Type, context: Type | None, keep: Type | None, mask: Type | None, /, *weights: Type | None,
    heads: int, kv_heads: int | None, **_: Any,
) -> Type:  # fmt: skip
    inputs = _widths(x, context, heads)
    features = _features(x, heads, kv_heads)
    source = context or x
    scores = Type(x.dtype, (x.shape[0], heads, x.shape[1], source.shape[1]))
    if keep is not None:
        require_bool("attention", keep)
        message = f"attention takes keep of shape {listed(source.shape[:2])}, and gets {keep}"
        if keep.rank != 2:
            raise TypeMismatch(message)
        for size, wanted in zip(keep.shape, source.shape[:2], strict=True):
            require_equal(size, wanted, message)
    if mask is not None:
        _require_mask("attention", mask, scores)
    for i, name in enumerate(_PARTS):
        weight, bias = weights[i], weights[i + 4]
        assert weight is not None
        require_weight("attention", weight, (features[i], inputs[i]), f"{name}.weight")
        if bias is not None:
            require_weight("attention", bias, (features[i],), f"{name}.bias")
    return x


def _widths(x: Type, context: Type | None, heads: int) -> tuple[Dim, ...]:
    """What each projection takes; raises where x, context and heads do not fit."""
    require_floating("attention", x, context)
    require_same_dtype("attention", x, context)
    for t in (x, context or x):
        if t.rank != 3:
            raise TypeMismatch(f"attention takes (batch, places, width), and gets {t}")
    if heads < 1:
        raise TypeMismatch(f"attention has at least 1 head, not {heads}")
    width = x.shape[2]
    require_divides(heads, width, f"width {width} of {x} does not divide into {heads} heads")
    if context is None:
        return (width,) * 4
    require_equal(x.shape[0], context.shape[0], f"attention of {x} to {context}: unequal batches")
    return (width, context.shape[2], context.shape[2], width)


def _features(x: Type, heads: int, kv_heads: int | None) -> tuple[Dim, ...]:
    """What each projection gives; raises where groups of heads do not divide."""
    width = x.shape[2]
    if kv_heads is None:
        return (width,) * 4
    if kv_heads < 1 or heads % kv_heads:
        raise TypeMismatch(f"attention: {heads} heads do not divide into {kv_heads} groups")
    part = width // heads * kv_heads
    return (width, part, part, width)


def _attention_params(
    x: Type, context: Type | None = None, *_inputs: Type | None, heads: int,
    kv_heads: int | None, bias: bool, **_: Any,
) -> dict[str, Param]:  # fmt: skip
    found: dict[str, Param] = {}
    every = zip(_PARTS, _widths(x, context, heads), _features(x, heads, kv_heads), strict=True)
    for name, size, features in every:
        found.update(linear_params(f"{name}.", x.dtype, size, features, bias))
    return {key: found[key] for key in sorted(found, key=lambda key: key.endswith("bias"))}


def _attention_eval(
    x: Any, context: Any, keep: Any, mask: Any, /, *weights: Any, heads: int,
    kv_heads: int | None, causal: bool, scale: float | None, **_: Any,
) -> Any:  # fmt: skip
    source = x if context is None else context
    allowed = mask
    if keep is not None:
        kept = keep[:, None, None, :]
        allowed = kept if mask is None else mask & kept

    def projected(i: int, y: Any) -> Any:
        y = np.matmul(y, weights[i].T)
        return y if weights[i + 4] is None else y + weights[i + 4]

    def split(y: Any) -> Any:
        return y.reshape(*y.shape[:2], -1, x.shape[2] // heads).transpose(0, 2, 1, 3)

    q, k, v = (split(projected(i, y)) for i, y in enumerate((x, source, source)))
    grouped = kv_heads is not None
    y = _sdpa_eval(q, k, v, allowed, None, causal=causal, scale=scale, grouped=grouped)
    return projected(3, y.transpose(0, 2, 1, 3).reshape(x.shape))


def _attention_body(
    b: Build, x: Value, context: Value | None, keep: Value | None, mask: Value | None, /,
    *weights: Value | None, heads: int, kv_heads: int | None, causal: bool, scale: float | None,
    **_: Any,
) -> Value:  # fmt: skip
    source = x if context is None else context
    features = _features(x.type, heads, kv_heads)
    if keep is not None:
        kept = b(UNSQUEEZE, keep, axes=(1, 2))
        mask = kept if mask is None else b(LOGICAL_AND, mask, kept)

    def projected(i: int, y: Value) -> Value:
        weight, bias = weights[i], weights[i + 4]
        result: Value = b(LINEAR, y, weight, bias, features=features[i], bias=bias is not None)
        return result

    def split(y: Value) -> Value:
        part = x.type.shape[2] // heads
        shape = (*y.type.shape[:2], y.type.shape[2] // part, part)
        result: Value = b(TRANSPOSE, b(RESHAPE, y, shape=shape), axes=(0, 2, 1, 3))
        return result

    q, k, v = (split(projected(i, y)) for i, y in enumerate((x, source, source)))
    attrs = {"causal": causal, "scale": scale, "grouped": kv_heads is not None}
    y = b(TRANSPOSE, b(SDPA, q, k, v, mask, **attrs), axes=(0, 2, 1, 3))
    return projected(3, b(RESHAPE, y, shape=x.type.shape))


ATTENTION = Op(
    "attention",
    inputs=("x", "context?", "keep?", "mask?"),
    weights=(
        *(f"{part}.weight" for part in _PARTS),
        *(f"{part}.bias?" for part in _PARTS),
    ),
    config={
        "heads": Config("int", doc="divides the width of x"),
        "causal": _CAUSAL,
        "bias": Config("bool", True, doc="whether the four projections have one"),
        "scale": _SCALE,
        "kv_heads": Config("int", None, doc="divides heads: how many keys and values have"),
    },
    params=_attention_params,
    infer=_attention_infer,
    eval=_attention_eval,
    body=_attention_body,
    rounding="body",
    layer=True,
    samples=(
        {"x": (2, 5, 6), "heads": 3, "causal": True},
        {"x": (2, 5, 6), "context": (2, 7, 4), "heads": 2, "bias": False},
        {"x": (2, 3, 4), "heads": 2, "scale": 0.7,
         "keep": ([[True, True, False], [False, False, False]], "bool")},
        {"x": (2, 3, 4), "context": (2, 5, 4), "heads": 1, "keep": ((2, 5), "bool"),
         "mask": ((2, 1, 3, 5), "bool"), "causal": True},
        {"x": (2, 5, 8), "heads": 4, "kv_heads": 2, "causal": True},
    ),
    doc="Multi-head attention of x (B, T, width) to itself or to context (B, S, any width): linear"
    " maps to queries, keys and values, sdpa in each head, and a linear map of the heads side by"
    " side. keep (B, S) and mask (broadcast to (B, heads, T, S)) are true where attending is"
    " allowed.",
)  # fmt: skip

ATTENTIONS = (SDPA, ATTENTION_SHARES, ATTENTION)
