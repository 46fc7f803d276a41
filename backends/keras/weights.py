"""Where Keras keeps each weight, and in which shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ...compiler.graph import Weight
from ...compiler.weight import Entry, Step

NORMS: Mapping[str, str] = {
    "weight": "gamma", "bias": "beta", "running_mean": "moving_mean",
    "running_var": "moving_variance",
}  # fmt: skip


def entry(weight: Weight, path: tuple[tuple[str, int | None], ...]) -> Entry:
    """The variable's path (`blocks_0_conv1/kernel`), and how the canonical tensor becomes it."""
    *holders, (part, _) = path
    pieces = [name if index is None else f"{name}_{index}" for name, index in holders]
    if weight.layer is None:
        return Entry("_".join([*pieces, part]) + f"/{part}", (weight.path,), ())
    op = weight.layer.op.name
    variable, steps = _KINDS.get(op, _norm)(weight)
    return Entry("_".join(pieces) + f"/{variable}", (weight.path,), steps)


Place = tuple[str, tuple[Step, ...]]


def _norm(weight: Weight) -> Place:
    return NORMS[weight.part], ()


def _linear(weight: Weight) -> Place:
    return ("kernel", (Step("permute", (1, 0)),)) if weight.part == "weight" else (weight.part, ())


def _conv(weight: Weight) -> Place:
    """(out, in, *kernel) as (*kernel, in, out)."""
    if weight.part != "weight":
        return weight.part, ()
    return "kernel", (Step("permute", (*range(2, weight.type.rank), 1, 0)),)


def _embedding(weight: Weight) -> Place:
    return "embeddings", ()


def _prelu(weight: Weight) -> Place:
    (size,) = weight.type.shape
    return "alpha", (Step("reshape", ((size,), (size,))),)


def _attention(weight: Weight) -> Place:
    """Keras projects to (heads, D // heads) at once."""
    layer = weight.layer
    assert layer is not None
    role, kind = weight.part.split(".")
    heads = layer.attrs["heads"]
    name = {"output": "attention_output"}.get(role, role)
    sizes = [s for s in weight.type.shape if isinstance(s, int)]
    width = sizes[0]
    split = (heads, width // heads)
    if kind == "bias":
        steps = () if role == "output" else (Step("reshape", ((width,), split)),)
        return f"{name}/bias", steps
    turned = Step("permute", (1, 0))
    before = tuple(reversed(sizes))
    after = (*split, sizes[0]) if role == "output" else (sizes[1], *split)
    if role == "output":
        after = (heads, sizes[1] // heads, sizes[0])
    return f"{name}/kernel", (turned, Step("reshape", (before, after)))


_KINDS: Mapping[str, Callable[[Weight], Place]] = {
    "linear": _linear, "conv": _conv, "embedding": _embedding, "prelu": _prelu,
    "attention": _attention,
}  # fmt: skip
