"""Attention that Keras' own layer does not say exactly, as a layer of the emitted file."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from ...compiler.expr import literal
from ...compiler.program import Apply, Program, walk
from ..source.tree import is_literal


def own(apply: Apply) -> bool:
    """Whether the op needs the file's own layer.

    Keras' own gives the mean of all values where a mask leaves nothing to attend to, has one scale,
    aligns a causal mask at the start, may add the bias of heads of width 1 to the wrong axis, and
    starts all its kernels alike, whatever the width of the context.
    """
    x, context, keep, mask = apply.inputs[:4]
    scaled = not is_literal(apply.attrs["scale"], None)
    assert x is not None
    context = context or x
    apart = context is not x
    causal = not is_literal(apply.attrs["causal"], False)
    narrow = ast.dump(literal(x.type.shape[-1])) == ast.dump(apply.attrs["heads"])
    wide = context.type.shape[-1] != x.type.shape[-1]
    return narrow or wide or keep is not None or mask is not None or scaled or (causal and apart)


def attention(program: Program, package: str) -> Iterator[str]:
    """The layer as text, with what the program needs of it, if anything."""
    found = [
        s
        for cls in program.classes
        for s in walk(cls.body)
        if isinstance(s, Apply) and s.op.name == "attention" and s.member and own(s)
    ]
    if found:
        yield _Layer(found, package).source()


_ATTRS = {"use_bias": "bias", "causal": "causal", "scale": "scale"}
"""The layer's arguments, and what the language calls them."""


class _Layer:
    def __init__(self, found: list[Apply], package: str) -> None:
        self.package = package
        self.keep = any(s.inputs[2] is not None for s in found)
        self.mask = any(s.inputs[3] is not None for s in found)
        kinds = {"use_bias": (True, "bool"), "causal": (False, "bool"),
                 "scale": (None, "float | None")}  # fmt: skip
        config = {
            name: (f"{kind} = {default}", any(not is_literal(s.attrs[_ATTRS[name]], default)
                                              for s in found))
            for name, (default, kind) in kinds.items()
        }  # fmt: skip
        self.config = {name: kind for name, (kind, used) in config.items() if used}

    def source(self) -> str:
        """The class."""
        options = "".join(f", {name}: {kind}" for name, kind in self.config.items())
        stored = "".join(f"        self.{name} = {name}\n" for name in self.config)
        bias = ", use_bias=self.use_bias" if "use_bias" in self.config else ""
        items = "".join(f', "{name}": self.{name}' for name in self.config)
        return f'''@keras.saving.register_keras_serializable(package="{self.package}")
class Attention(keras.layers.Layer):
    """Multi-head attention of x (B, T, D) to context (B, S, any width).{self._masks()}"""

    def __init__(self, heads: int{options}, **kwargs):
        super().__init__(**kwargs)
        self.heads = heads
{stored}
    def build(self, x_shape, context_shape):
        D = x_shape[-1]
        self.query = self.linear(x_shape, D, "query")
        self.key = self.linear(context_shape, D, "key")
        self.value = self.linear(context_shape, D, "value")
        self.out = self.linear(x_shape, D, "output")

    def linear(self, shape, width, name):
        layer = keras.layers.Dense(
            width{bias}, kernel_initializer=fan_uniform,
            bias_initializer=uniform(shape[-1]), name=name,
        )
        layer.build(shape)
        return layer

    def call(self, x, context{self._arguments()}):
        d = x.shape[-1] // self.heads
        q, k, v = self.query(x), self.key(context), self.value(context)
        q, k, v = (
            keras.ops.reshape(y, (-1, keras.ops.shape(y)[1], self.heads, d)) for y in (q, k, v)
        )
        scores = keras.ops.einsum("bthd,bshd->bhts", q, k) * {self._scale()}
{self._shares()}
        y = keras.ops.einsum("bhts,bshd->bthd", shares, v)
        return self.out(keras.ops.reshape(y, keras.ops.shape(x)))

    def compute_output_spec(self, x, context{self._arguments()}):
        return keras.KerasTensor(x.shape, dtype=self.compute_dtype)

    def get_config(self):
        return {{**super().get_config(), "heads": self.heads{items}}}
'''

    def _masks(self) -> str:
        """What the docstring says of masks."""
        given = (("keep (B, S)", self.keep), ("attention_mask (B, heads, T, S)", self.mask))
        names = [name for name, used in given if used]
        lines = []
        if names:
            verb = "are" if len(names) > 1 else "is"
            lines = [f"{' and '.join(names)} {verb} true where attending is allowed;",
                     "a query that may attend to nothing gets zeros."]  # fmt: skip
        elif "causal" in self.config:
            lines = ["A causal mask is aligned at the end."]
        return "\n\n    " + "\n    ".join(lines) + "\n    " if lines else ""

    def _arguments(self) -> str:
        return (", keep=None" if self.keep else "") + (", attention_mask=None" if self.mask else "")

    def _scale(self) -> str:
        return "(self.scale or d**-0.5)" if "scale" in self.config else "d**-0.5"

    def _shares(self) -> str:
        """What each query takes of each key."""
        if not (self.keep or self.mask or "causal" in self.config):
            return "        shares = keras.ops.softmax(scores)"
        return "".join([
            '        allowed = keras.ops.ones_like(scores, dtype="bool")\n',
            _GIVEN if self.mask else "", _KEPT if self.keep else "",
            _PAST if "causal" in self.config else "",
            "        scores = keras.ops.where(allowed, scores, -1e9)\n"
            "        shares = keras.ops.where(allowed, keras.ops.softmax(scores), 0.0)",
        ])  # fmt: skip


_GIVEN = """        if attention_mask is not None:
            allowed = keras.ops.logical_and(allowed, attention_mask)
"""
_KEPT = """        if keep is not None:
            allowed = keras.ops.logical_and(allowed, keep[:, None, None])
"""
_PAST = """        if self.causal:
            T, S = keras.ops.shape(scores)[2:]
            past = keras.ops.arange(T)[:, None] + S - T >= keras.ops.arange(S)
            allowed = keras.ops.logical_and(allowed, past)
"""
