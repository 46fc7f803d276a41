"""The text of each function for a layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from ...source.parts import Parts
from ..attention import Uses

Texts: TypeAlias = "Mapping[str, str]"
Has: TypeAlias = "Callable[[str], bool | None]"
Narrow: TypeAlias = "Uses | None"
"""What `sdpa` is called with where products are in bfloat16; None where they are as they come."""
Kernel: TypeAlias = "Callable[[str, Sequence[str], Texts, tuple[Any, ...], Has, Narrow], str]"


def shared(p: Parts) -> tuple[int, ...]:
    """The axes along which a layer drops all elements or none, as the tensor is stored."""
    rank = p.x.type.rank
    if p.op.name == "drop_path":
        return tuple(range(1, rank))
    order = p.x.order or tuple(range(rank))
    spared = p.op.name == "channel_dropout"
    return tuple(i for i, axis in enumerate(order) if axis > 1) if spared else ()


def function(
    name: str, arguments: Sequence[str], doc: str, lines: Sequence[str], returned: str = "jax.Array"
) -> str:
    body = "\n".join(f"    {line}" if line else "" for line in (f'"""{doc}"""', *lines))
    return f"def {name}({', '.join(arguments)}) -> {returned}:\n{body}\n"


LAYER = ("params: Params", "x: jax.Array")


def _narrow(x: str, narrow: Narrow) -> str:
    """What is multiplied."""
    return f"{x}.astype(jnp.bfloat16)" if narrow is not None else x


def _wide(narrow: Narrow) -> list[str]:
    """The line behind which statistics are in float32."""
    return ["x = x.astype(jnp.float32)"] if narrow is not None else []


def _biased(made: str, has: Has) -> list[str]:
    """`return y + params["bias"]`, of which the bias may be missing."""
    bias = has("bias")
    if bias is None:
        return [f"y = {made}", 'return y + params["bias"] if "bias" in params else y']
    if not bias:
        return [f"return {made}"]
    short = len(made) < 60
    return [f'return {made} + params["bias"]'] if short else [
        f"y = {made}", 'return y + params["bias"]'
    ]  # fmt: skip


def _affine(made: str, has: Has, state: str = "") -> list[str]:
    """`return y * params["scale"] + params["bias"]`, of which a part may be missing."""
    scale, bias = has("weight"), has("bias")
    if scale and bias:
        return [f"y = {made}", f'return y * params["scale"] + params["bias"]{state}']
    lines = [f"y = {made}"]
    for part, present, operator in (("scale", scale, "*"), ("bias", bias, "+")):
        if present is None:
            lines.append(f'y = y {operator} params["{part}"] if "{part}" in params else y')
        elif present:
            lines.append(f'y = y {operator} params["{part}"]')
    if len(lines) > 1:
        return [*lines[:-1], f"return {lines[-1].removeprefix('y = ')}{state}"]
    return [*lines, f"return y{state}"]


def _product(x: str, narrow: Narrow) -> str:
    kernel = _narrow('params["kernel"]', narrow)
    return f"{_narrow(x, narrow)} @ {kernel}"


def _linear(
    name: str, more: Sequence[str], texts: Texts, traits: tuple[Any, ...], has: Has, narrow: Narrow
) -> str:
    del texts, traits
    return function(
        name, [*LAYER, *more], "(..., in) -> (..., out).", _biased(_product("x", narrow), has)
    )


def _axes(count: int, kernel: str) -> str:
    places = "DHW"[-count:]
    return f'("N{places}C", "{places}{kernel}", "N{places}C")'


def _shape(count: int) -> str:
    return f"(B, {', '.join('DHW'[-count:])}, C)"


def _conv(
    name: str, more: Sequence[str], texts: Texts, traits: tuple[Any, ...], has: Has, narrow: Narrow
) -> str:
    count = traits[0]
    arguments = [
        _narrow("x", narrow),
        _narrow('params["kernel"]', narrow),
        texts["stride"],
        texts["pad"],
    ]
    arguments += [f"rhs_dilation={texts['dilation']}"] if _told("dilation", texts, count) else []
    arguments += [f"dimension_numbers={_axes(count, 'IO')}"]
    arguments += [f"feature_group_count={texts['groups']}"] if texts["groups"] != "1" else []
    made = f"jax.lax.conv_general_dilated({', '.join(arguments)})"
    return function(
        name, [*LAYER, *more], f"Convolution of {_shape(count)}.", _biased(made, has)
    )  # fmt: skip


def _told(key: str, texts: Texts, count: int) -> bool:
    return texts[key] not in ("1", f"({', '.join(['1'] * count)}{',' * (count == 1)})")


def _conv_transpose(
    name: str, more: Sequence[str], texts: Texts, traits: tuple[Any, ...], has: Has, narrow: Narrow
) -> str:
    """The convolution of the stretched input by the kernel turned round."""
    count, grouped = traits
    ones = f"({', '.join(['1'] * count)}{',' * (count == 1)})"
    places = f"({', '.join(map(str, range(count)))}{',' * (count == 1)})"
    turned = 'params["kernel"]' if grouped else f'jnp.flip(params["kernel"], {places})'
    arguments = [_narrow("x", narrow), _narrow(turned, narrow), ones, texts["padding"]]
    arguments += [f"lhs_dilation={texts['stride']}"] if _told("stride", texts, count) else []
    arguments += [f"rhs_dilation={texts['dilation']}"] if _told("dilation", texts, count) else []
    arguments += [f"dimension_numbers={_axes(count, 'IO' if grouped else 'OI')}"]
    arguments += [f"feature_group_count={texts['groups']}"] if grouped else []
    made = f"jax.lax.conv_general_dilated({', '.join(arguments)})"
    doc = f"Transposed convolution of {_shape(count)}."
    return function(name, [*LAYER, *more], doc, _biased(made, has))


def _batch_norm(
    name: str, more: Sequence[str], texts: Texts, traits: tuple[Any, ...], has: Has, narrow: Narrow
) -> str:
    del traits
    share = texts["momentum"]
    kept = f"(1 - {share})" if share == "momentum" else repr(round(1 - float(share), 12))
    lines = [
        *_wide(narrow),
        "if train:",
        "    axes = tuple(range(x.ndim - 1))",
        "    mean, var = x.mean(axes), x.var(axes)",
        "    count = x.size // x.shape[-1]",
        '    seen = {"mean": mean, "var": var * count / (count - 1)}',
        "    seen = jax.lax.stop_gradient(seen)",
        f"    state = {{name: {kept} * state[name] + {share} * seen[name] for name in seen}}",
        "else:",
        '    mean, var = state["mean"], state["var"]',
        *_affine(f"(x - mean) * jax.lax.rsqrt(var + {texts['eps']})", has, ", state"),
    ]
    first = ["params: Params", "state: State", "x: jax.Array"]
    doc = "Normalises each channel, the last axis: in training by the batch, else by the state."
    return function(
        name, [*first, "train: bool", *more], doc, lines, "tuple[jax.Array, State]"
    )  # fmt: skip


def _standardised(x: str, axes: str, eps: str) -> tuple[str, str]:
    """A line that centres, and what standardises then."""
    centred = f"{x} - {x}.mean({axes}, keepdims=True)"
    return centred, f"h * jax.lax.rsqrt((h * h).mean({axes}, keepdims=True) + {eps})"


def _norm(axes: str, doc: str) -> Kernel:
    def kernel(
        name: str,
        more: Sequence[str],
        texts: Texts,
        traits: tuple[Any, ...],
        has: Has,
        narrow: Narrow,
    ) -> str:
        del traits
        centred, y = _standardised("x", axes, texts["eps"])
        return function(
            name, [*LAYER, *more], doc, [*_wide(narrow), f"h = {centred}", *_affine(y, has)]
        )

    return kernel


def _rms_norm(
    name: str, more: Sequence[str], texts: Texts, traits: tuple[Any, ...], has: Has, narrow: Narrow
) -> str:
    del traits
    y = f"x * jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + {texts['eps']})"
    doc = "Divides by the root of the mean square along the last axis."
    return function(name, [*LAYER, *more], doc, [*_wide(narrow), *_affine(y, has)])


def _group_norm(
    name: str, more: Sequence[str], texts: Texts, traits: tuple[Any, ...], has: Has, narrow: Narrow
) -> str:
    del traits
    groups = texts["groups"]
    centred, y = _standardised("h", "(1, 3)", texts["eps"])
    lines = [
        *_wide(narrow), f"h = x.reshape(x.shape[0], -1, {groups}, x.shape[-1] // {groups})",
        f"h = {centred}", f"h = {y}", *_affine("h.reshape(x.shape)", has),
    ]  # fmt: skip
    return function(name, [*LAYER, *more], "Normalises groups of channels, the last axis.", lines)


def _prelu(
    name: str, more: Sequence[str], texts: Texts, traits: tuple[Any, ...], has: Has, narrow: Narrow
) -> str:
    del texts, traits, has
    lines = ['return jnp.where(x > 0, x, params["weight"] * x)']
    return function(name, [*LAYER, *more], "x where it is positive, else x times a slope.", lines)


def _dropout(
    name: str, more: Sequence[str], texts: Texts, traits: tuple[Any, ...], has: Has, narrow: Narrow
) -> str:
    del traits, has
    rate, along = texts["rate"], texts["shared"]
    shape = "x.shape"
    lines = [f"if key is None or {rate} == 0:", "    return x"]
    doc = "Sets a share of x to 0 and scales up the rest; without a key, gives x."
    if along != "()":
        lines.append(f"shape = [1 if i in {along} else n for i, n in enumerate(x.shape)]")
        shape = "shape"
    lines += [
        f"keep = jax.random.bernoulli(key, 1 - {rate}, {shape})",
        f"return jnp.where(keep, x / (1 - {rate}), 0)",
    ]
    return function(
        name, ["x: jax.Array", "key: jax.Array | None", *more], doc, lines
    )  # fmt: skip


def _attention(
    name: str, more: Sequence[str], texts: Texts, traits: tuple[Any, ...], has: Has, narrow: Narrow
) -> str:
    """By `jax.nn.dot_product_attention`, on kernels that hold the heads apart."""
    del has
    bias = ' + params[{}]["bias"]'.format if traits[0] else (lambda part: "")
    crossed = texts["context"] != "None"
    kernel = _narrow('params[part]["kernel"]', narrow)
    part = f'jnp.einsum("btd,dhk->bthk", {_narrow("y" if crossed else "x", narrow)}, {kernel})'
    parts = '("query", "key", "value")'
    lines = ["context = x if context is None else context"] if "None" in _hint(
        "context", more
    ) else []  # fmt: skip
    over = f"part in {parts}"
    if crossed:
        over = 'part, y in (("query", x), ("key", context), ("value", context))'
    lines += ["q, k, v = (", f"    {part}{bias('part')}", f"    for {over}", ")"]
    options = "".join(
        f", {key}={texts[key]}"
        for key in ("mask", "scale", "is_causal")
        if texts[key] not in ("None", "False")
    )
    if narrow is None:
        lines.append(f"y = jax.nn.dot_product_attention(q, k, v{options})")
    else:
        lines += _by_sdpa(texts, narrow)
    doc = "Attention of (B, T, width) in several heads"
    if texts["mask"] != "None":
        doc += "; a query that may attend to nothing gets zeros"
        some = "None" in _hint("mask", more)
        zeroed = "jnp.where(mask.any(-1).mT[..., None], y, 0)"
        given = ["if mask is not None:", f"    y = {zeroed}"] if some else [f"y = {zeroed}"]
        lines += given if narrow is None else []  # `sdpa` does so itself
    kernel = _narrow('params["out"]["kernel"]', narrow)
    out = f'jnp.einsum("bthk,hkd->btd", {_narrow("y", narrow)}, {kernel})'
    lines.append(f"return {out}" + bias('"out"'))
    return function(name, [*LAYER, *more], f"{doc}.", lines)


def _by_sdpa(texts: Texts, needed: Uses) -> list[str]:
    """Attention by products in bfloat16: JAX' own multiplies by shares in float32."""
    given = ["*(x.swapaxes(1, 2) for x in (q, k, v))"]
    given += [texts["mask"]] if texts["mask"] != "None" else []
    given += [f"causal={texts['is_causal']}"] if len(needed.causal) == 2 else []
    given += [f"scale={texts['scale']}"] if needed.scaled and texts["scale"] != "None" else []
    return [f"y = sdpa({', '.join(given)}).swapaxes(1, 2)"]


def _hint(argument: str, arguments: Sequence[str]) -> str:
    return next((a for a in arguments if a.startswith(f"{argument}:")), "")


KERNELS: Mapping[str, Kernel] = {
    "linear": _linear, "conv": _conv, "conv_transpose": _conv_transpose,
    "batch_norm": _batch_norm, "rms_norm": _rms_norm, "group_norm": _group_norm,
    "layer_norm": _norm("-1", "Normalises the last axis."),
    "instance_norm": _norm(
        "tuple(range(1, x.ndim - 1))", "Normalises each channel, the last axis, of each example."
    ),
    "prelu": _prelu, "dropout": _dropout, "attention": _attention,
}  # fmt: skip
"""By the op of the layer."""
