"""Attention: NNX' own layer, and functions of the file for what that does not do."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Set
from dataclasses import dataclass

from ...compiler import expr
from ...compiler.expr import Expr, literal
from ...compiler.program import Apply, Program, walk
from ..source.parts import Parts
from ..source.tree import is_literal, tree
from .policy import Policy
from .starts import biased, size


def attention(p: Parts) -> Expr:
    context = p.var("context")
    width = None
    if context is not None and context.type.shape[-1] != p.x.type.shape[-1]:
        width = p.place(literal(context.type.shape[-1]))
    inputs = size(p, -1)
    return p.fill(
        "nnx.MultiHeadAttention({heads}, {inputs}, in_kv_features={width}, use_bias={bias}, "
        "attention_fn={function}, decode=False, kernel_init=fan_uniform, bias_init={start}, "
        "rngs=rngs)",
        **{**biased(p, inputs), "inputs": inputs, "width": width, "function": _function(p)},
    )


def _function(p: Parts) -> Expr | None:
    """What attends: the module's `attend` where NNX' own does not do it."""
    scale = p["scale"]
    masked = p["mask"] is not None or p["keep"] is not None or _uneven(p)
    if scale is not None:
        return p.fill("partial(attend, scale={scale})")
    return expr.name("attend") if masked else None


def _uneven(p: Parts) -> bool:
    """Whether the lengths of a causal attention may differ: NNX' own aligns it at the start."""
    context = p.var("context")
    if context is None or is_literal(p["causal"], False):
        return False
    return bool(context.type.shape[1] != p.x.type.shape[1])


def attend(p: Parts) -> Expr:
    """`self.attention(x, context, mask=…)`."""
    masks = []
    if p["keep"] is not None:
        masks.append(p.fill("{keep}[:, None, None, :]"))
    var = p.var("mask")
    if var is not None:
        missing = 4 - var.type.rank
        masks.append(p.fill(f"{{mask}}[{', '.join(['None'] * missing)}]" if missing else "{mask}"))
    causal = p.unless("causal", False)
    if causal is not None and (masks or _uneven(p)):
        seen = _triangle(p)
        always = is_literal(causal, True)
        masks.append(seen if always else tree("({s} | (not {c}))", s=seen, c=causal))
        causal = None
    mask = masks[0] if masks else None
    for other in masks[1:]:
        mask = tree("{a} & {b}", a=mask, b=other)
    return p.fill(
        "{name}({x}, {context}, mask={allowed}, is_causal={causal})",
        allowed=mask, causal=causal,
    )  # fmt: skip


def _triangle(p: Parts) -> Expr:
    """True where a query may see a key, the last query every key."""
    if not _uneven(p):
        return p.fill("jnp.tri({x}.shape[1], dtype=bool)")
    template = (
        "jnp.tri({x}.shape[1], {c}.shape[1], {c}.shape[1] - {x}.shape[1], dtype=bool)[None, None]"
    )
    return p.fill(template, c=p["context"])


# --------------------------------------------------------------------- functions of the file


@dataclass(frozen=True)
class Uses:
    """What `sdpa` is called with: a mask or none, causal or not, and another scale or its own."""

    masks: frozenset[bool] = frozenset()
    causal: frozenset[bool] = frozenset()
    scaled: bool = False


def uses(program: Program, policy: Policy) -> Uses:
    """What the model's products of attention need; where all are narrow, its layers are such."""
    applied = [s for cls in program.classes for s in walk(cls.body) if isinstance(s, Apply)]
    products = [s for s in applied if s.op.name == "sdpa"]
    layers = [s for s in applied if s.op.name == "attention"] if policy.narrow else []
    masks = {s.inputs[3] is not None for s in products} | {_masked(s) for s in layers}
    alone = [s for s in layers if not _masked(s)]
    causal = {each for s in (*products, *alone) for each in _causal(s)}
    causal |= {False for s in layers if _masked(s)}
    scaled = any(_scaled(s) for s in (*products, *layers))
    return Uses(frozenset(masks), frozenset(causal), scaled)


def functions(program: Program, policy: Policy) -> Iterator[str]:
    """`attend` and `sdpa`, where the model needs them."""
    applied = [s for cls in program.classes for s in walk(cls.body) if isinstance(s, Apply)]
    layers = [s for s in applied if s.op.name == "attention"]
    own = [s for s in layers if _own_function(s)]
    needed = uses(program, policy)
    if policy.narrow and layers:
        yield _by_sdpa(needed)
    elif own:
        yield _attend(own)
    yield from products(needed, policy)


def products(needed: Uses, policy: Policy) -> Iterator[str]:
    """`sdpa`, where the model needs it."""
    if needed.masks:
        yield _sdpa(needed, policy)


def _by_sdpa(needed: Uses) -> str:
    """What NNX' layers attend by where shares are in float32: JAX' own multiplies by such, too."""
    options = ["mask: jax.Array | None = None"] if True in needed.masks else []
    options += ["scale: float | None = None"] if needed.scaled else []
    options += ["is_causal: bool = False"] if len(needed.causal) == 2 else []
    given = ["q", "k", "v"]
    given += ["mask"] if True in needed.masks else []
    given += ["causal=is_causal"] if len(needed.causal) == 2 else []
    given += ["scale=scale"] if needed.scaled else []
    head = ", ".join(["query: jax.Array, key: jax.Array, value: jax.Array", *options, "**_"])
    return f'''def attend({head}) -> jax.Array:
    """Attention of (B, T, heads, d)."""
    q, k, v = (x.swapaxes(1, 2) for x in (query, key, value))
    return sdpa({", ".join(given)}).swapaxes(1, 2)
'''


def _attend(found: list[Apply]) -> str:
    """NNX' own attention has no scale, and gives an average where nothing may be attended to."""
    head = "def attend(query: jax.Array, key: jax.Array, value: jax.Array, mask: jax.Array"
    title = "Attention of (B, T, heads, d); a query that may attend to nothing gets zeros."
    if not any(_scaled(apply) for apply in found):
        return f'''{head}, **_) -> jax.Array:
    """{title}"""
    y = jax.nn.dot_product_attention(query, key, value, mask=mask)
    return jnp.where(mask.any(-1).mT[..., None], y, 0)
'''
    options = "scale: float | None = None, is_causal: bool = False"
    return f'''{head} | None, *, {options}, **_) -> jax.Array:
    """{title}"""
    y = jax.nn.dot_product_attention(
        query, key, value, mask=mask, scale=scale, is_causal=is_causal
    )
    return y if mask is None else jnp.where(mask.any(-1).mT[..., None], y, 0)
'''


def _sdpa(needed: Uses, policy: Policy) -> str:
    """Scaled dot-product attention, with what the model does with it and no more."""
    masks, causal, scaled = needed.masks, needed.causal, needed.scaled
    arguments = ["q: jax.Array", "k: jax.Array", "v: jax.Array"]
    arguments += ["mask: jax.Array"] if masks == {True} else []
    arguments += ["mask: jax.Array | None = None"] if len(masks) == 2 else []
    options = ["causal: bool = False"] if len(causal) == 2 else []
    options += ["scale: float | None = None"] if scaled else []
    arguments += ["*", *options] if options else []
    scale = "(q.shape[-1] ** -0.5 if scale is None else scale)" if scaled else "q.shape[-1] ** -0.5"
    plain = masks == causal == {False}
    scores, narrow = "q @ k.mT", ""
    lines = []
    if policy.narrow:
        lines = ["q, k, v = (x.astype(jnp.bfloat16) for x in (q, k, v))"]
        scores, narrow = "(q @ k.mT).astype(jnp.float32)", ".astype(v.dtype)"
    unmasked = f"return nnx.softmax(scores){narrow} @ v"
    lines += [f"scores = {scores} * {scale}", *_allowed(masks, causal, unmasked)]
    lines += [unmasked] if plain else [
        "shares = nnx.softmax(jnp.where(mask, scores, jnp.finfo(scores.dtype).min))",
        f"return jnp.where(mask, shares, 0){narrow} @ v",
    ]  # fmt: skip
    what = "Attention of (..., T, width)"
    what += "." if plain else "; a query that may attend to nothing gets zeros."
    body = "\n".join(f"    {line}" for line in lines)
    return f'def sdpa({", ".join(arguments)}) -> jax.Array:\n    """{what}"""\n{body}\n'


def _allowed(masks: Set[bool], causal: Set[bool], unmasked: str) -> list[str]:
    """The lines that make `mask`; where nothing is masked, they return as `unmasked` says."""
    returned = f"    {unmasked}"
    lines = ["if not causal:", returned] if masks == {False} and len(causal) == 2 else []
    if True in causal:
        name = "seen" if True in masks else "mask"
        seen = ["T, S = scores.shape[-2:]", f"{name} = jnp.tri(T, S, S - T, dtype=bool)"]
        if True in masks:
            first = "seen if mask is None else " if len(masks) == 2 else ""
            seen.append(f"mask = {first}mask & seen")
        optional = len(causal) == 2 and True in masks
        lines += ["if causal:", *(f"    {line}" for line in seen)] if optional else seen
    if len(masks) == 2 and False in causal:
        lines += ["if mask is None:", returned]
    return lines


def _causal(apply: Apply) -> set[bool]:
    """What `causal` may be: both where a hyper-parameter says it."""
    return {bool(apply.values["causal"])} if "causal" in apply.values else {False, True}


def _own_function(apply: Apply) -> bool:
    """Whether the layer is told to use `attend`."""
    return _masked(apply) or _scaled(apply)


def _masked(apply: Apply) -> bool:
    """Whether the layer is given a mask."""
    names = [n.rstrip("?") for n in apply.op.inputs]
    given = {n for n, v in zip(names, apply.inputs, strict=False) if v is not None}
    x, context = apply.inputs[0], apply.inputs[1]
    uneven = context is not None and x is not None and context.type.shape[1] != x.type.shape[1]
    return bool(given & {"keep", "mask"}) or (uneven and True in _causal(apply))


def _scaled(apply: Apply) -> bool:
    scale = apply.attrs["scale"]
    return not (isinstance(scale, ast.Constant) and scale.value is None)
