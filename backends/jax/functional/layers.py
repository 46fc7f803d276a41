"""Functions of the file for layers: one for each kind of layer that the model has.

What all uses of a kind have in common stands in the function; what differs is an argument.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from ....compiler.expr import Expr, literal, name
from ....compiler.program import Apply, Program, walk
from ...source.parts import Parts
from ...source.tree import is_literal, number, text
from ..attention import Uses, attend, uses
from ..layers import LAYERS
from ..policy import Policy
from ..tuples import Tuples
from ..windows import each, pairs, reaches, spatial
from .kernels import KERNELS, shared

Texts: TypeAlias = "Mapping[str, str]"

WINDOWS = ("stride", "dilation", "pad")
"""Arguments that are one number, or as many as the image has axes."""

DEFAULTS: Mapping[str, Any] = {
    "stride": 1, "pad": 0, "dilation": 1, "groups": 1, "eps": 1e-5, "momentum": 0.1, "shared": (),
    "context": None, "mask": None, "scale": None, "is_causal": False,
}  # fmt: skip
"""What may be left out of a call."""

POSITIONAL = frozenset({"stride", "padding", "rate", "shared", "context"})
"""What a call needs no keyword for."""

HINTS: Mapping[str, str] = {
    "eps": "float", "momentum": "float", "rate": "float", "shared": "tuple[int, ...]",
    "padding": "list[tuple[int, int]]", "context": "jax.Array", "mask": "jax.Array",
    "scale": "float", "is_causal": "bool",
}  # fmt: skip

READS: Mapping[str, tuple[str, ...]] = {
    "conv": ("stride", "pad", "dilation", "groups"),
    "conv_transpose": ("kernel", "stride", "pad", "dilation", "output_pad", "groups"),
    "batch_norm": ("momentum", "eps"), "layer_norm": ("eps",), "rms_norm": ("eps",),
    "group_norm": ("groups", "eps"), "instance_norm": ("eps",), "attention": ("causal", "scale"),
    **dict.fromkeys(("dropout", "channel_dropout", "drop_path"), ("rate",)),
}  # fmt: skip
"""The attributes that applying a layer reads; the others say how its parameters are shaped."""


@dataclass(eq=False, slots=True)
class Kind:
    """One function: `traits` are what all of it shares, `uses` the arguments of each use."""

    op: str
    name: str
    traits: tuple[Any, ...]
    uses: list[dict[str, Expr]] = field(default_factory=list)
    parts: list[frozenset[str]] = field(default_factory=list)
    products: Uses | None = None
    """In bfloat16, what `sdpa` is called with."""

    def spread(self, key: str) -> bool:
        """Whether a window is given for each axis, not as one number."""
        return key in WINDOWS and any(_several(use[key]) for use in self.uses)

    def varying(self) -> list[str]:
        """The arguments that are not the same literal in all uses."""
        first = self.uses[0]
        return [
            key for key in first
            if any(text(use[key]) != text(first[key]) for use in self.uses)
            or key == "rate" or (key == "shared" and text(first[key]) != "()")
            or (number(first[key]) is None and not _constant(first[key]))
        ]  # fmt: skip

    def optional(self, key: str) -> bool:
        """Whether an argument may be left out, as some use does."""
        known = key in DEFAULTS and not self.spread(key)
        return known and any(_is(use[key], DEFAULTS[key]) for use in self.uses)

    def ordered(self) -> list[str]:
        """The arguments, those that may be left out last."""
        return sorted(self.varying(), key=self.optional)

    def has(self, part: str) -> bool | None:
        """Whether the layers have a part; None where some have."""
        found = {part in each for each in self.parts}
        return found.pop() if len(found) == 1 else None

    def source(self) -> str:
        """The function as text."""
        arguments = [f"{key}: {self._hint(key)}{self._given(key)}" for key in self.ordered()]
        texts = {key: key for key in self.varying()}
        for key, value in self.uses[0].items():
            texts.setdefault(key, text(value))
        for key in self.uses[0]:
            if key in WINDOWS:
                texts[key] = self._window(key, texts[key])
        return KERNELS[self.op](self.name, arguments, texts, self.traits, self.has, self.products)

    def _given(self, key: str) -> str:
        return f" = {text(literal(DEFAULTS[key]))}" if self.optional(key) else ""

    def _hint(self, key: str) -> str:
        if key in HINTS:
            absent = self.optional(key) and DEFAULTS[key] is None
            return f"{HINTS[key]} | None" if absent else HINTS[key]
        if key == "pad" and self.spread(key):
            return "Any"
        return "tuple[int, ...]" if self.spread(key) else "int"

    def _window(self, key: str, shown: str) -> str:
        """The window of each axis."""
        if shown != key:
            return text(self._each(key, self.uses[0][key]))
        return shown if self.spread(key) else text(self._each(key, name(key)))

    def _each(self, key: str, value: Expr) -> Expr:
        if isinstance(number(value), str):
            return value
        count = self.traits[0]
        return pairs(value, count) if key == "pad" else each(value, count)

    def arguments(self, given: Mapping[str, Expr]) -> tuple[list[Expr], dict[str, Expr]]:
        """Those of a call, by position and by keyword."""
        positional: list[Expr] = []
        keywords: dict[str, Expr] = {}
        gap = False
        for key in self.ordered():
            value = self._each(key, given[key]) if self.spread(key) else given[key]
            if self.optional(key) and _is(value, DEFAULTS[key]):
                gap = True
            elif gap or key not in POSITIONAL:
                keywords[key] = value
            else:
                positional.append(value)
        return positional, keywords


def _several(value: Expr) -> bool:
    """Whether it is a number for each axis, or the word for padding that keeps the size."""
    shown = number(value)
    return isinstance(shown, (str, tuple)) or type(value).__name__ in ("Tuple", "List")


def _is(value: Expr, default: Any) -> bool:
    """Whether it is this literal."""
    return text(value) == text(literal(default))


def _constant(value: Expr) -> bool:
    """Whether it is a literal that is no number: a word, None."""
    return type(value).__name__ == "Constant"


def given(p: Parts) -> dict[str, Expr]:
    """What a layer's function is told, by name."""
    op = p.op.name
    if op in ("conv", "conv_transpose"):
        found = {key: p[key] for key in ("stride", "dilation", "groups")}
        if op == "conv_transpose":
            return {**found, "padding": reaches(p)}
        same = is_literal(p["pad"], "same")
        return {**found, "pad": literal("SAME") if same else p["pad"]}
    if op in ("dropout", "channel_dropout", "drop_path"):
        return {"rate": p["rate"], "shared": literal(shared(p))}
    return {key: p[key] for key in READS.get(op, ())}


def traits(apply: Apply) -> tuple[Any, ...]:
    """What decides on a function of its own."""
    x = next(v for v in apply.inputs if v is not None)
    match apply.op.name:
        case "conv":
            return (spatial(x.type),)
        case "conv_transpose":
            return spatial(x.type), number(apply.attrs["groups"]) != 1
        case "attention":
            return (any(part.endswith("bias") for part in apply.weights),)
    return ()


class Layers:
    """The functions for layers that a program needs; `fresh` finds them names."""

    def __init__(self, program: Program, fresh: Callable[[str], str], policy: Policy) -> None:
        self.products = uses(program, policy) if policy.narrow else None
        self.found: dict[tuple[str, tuple[Any, ...]], Kind] = {}
        for cls in program.classes:
            tuples = Tuples(cls)
            for statement in walk(cls.body):
                layer = isinstance(statement, Apply) and statement.member is not None
                if isinstance(statement, Apply) and layer and statement.op.name in LAYERS:
                    self._use(tuples.spread(statement), fresh)

    def _use(self, apply: Apply, fresh: Callable[[str], str]) -> None:
        kind = FAMILY.get(apply.op.name, apply.op.name)
        if kind in INLINE:
            return
        key = (kind, traits(apply))
        if key not in self.found:
            self.found[key] = Kind(kind, fresh(kind), key[1], products=self.products)
        parts = Parts(apply, lambda var: name("x"), lambda expression: expression, name("params"))
        self.found[key].parts.append(frozenset(apply.weights))
        self.found[key].uses.append(attended(parts) if kind == "attention" else given(parts))

    def of(self, apply: Apply) -> Kind:
        return self.found[FAMILY.get(apply.op.name, apply.op.name), traits(apply)]

    def source(self) -> Iterator[str]:
        """All of them as text."""
        for kind in self.found.values():
            yield kind.source()


FAMILY: Mapping[str, str] = {"channel_dropout": "dropout", "drop_path": "dropout"}
"""Layers that share a function."""

INLINE: Mapping[str, str] = {"embedding": '{name}["embedding"][{index}]'}
"""Layers that are one expression."""


def attended(p: Parts) -> dict[str, Expr]:
    """What attention is told: by keywords of the call that the plain backend writes."""
    call = attend(p)
    keywords = {k.arg: k.value for k in call.keywords if k.arg}  # type: ignore[attr-defined]
    none = literal(None)
    scale = p["scale"]
    return {
        "context": none if p["context"] is None else p["context"],
        "mask": keywords.get("mask", none),
        "is_causal": keywords.get("is_causal", literal(False)),
        "scale": none if scale is None else scale,
    }


__all__ = ["INLINE", "READS", "Kind", "Layers", "attended", "given"]
