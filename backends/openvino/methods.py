"""Methods of the emitted class for layers: one for each kind of layer that the model has.

What all uses of a kind have in common stands in the method; what differs is an argument.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from ...compiler.expr import Expr, literal
from ...compiler.graph import Node
from ...compiler.ops.draw import NOISE
from ...compiler.program import Apply, Program, walk
from ..source.parts import Parts
from ..source.scope import hint
from ..source.tree import number, text, tree
from . import attention, recurrent, windows
from .convolution import has_row
from .places import PLACED
from .ports import passes_ports
from .rules import RULES

Texts: TypeAlias = "Mapping[str, str]"


@dataclass(eq=False, slots=True)
class Method:
    """One kind of layer: `traits` are what all of it shares, `uses` the attributes of each."""

    op: str
    name: str
    traits: tuple[Any, ...]
    uses: list[dict[str, Any]] = field(default_factory=list)
    forms: dict[str, int] = field(default_factory=dict)

    def use(self, apply: Apply, hypers: Mapping[str, Any]) -> None:
        """Takes in what one use of it needs."""
        self.uses.append(attributes(apply))
        for key in set(SPECS[self.op].attrs) & set(windows.KEYS):
            own = windows.form(apply, key, hypers)
            self.forms[key] = max(own, self.forms.get(key, windows.ONE))

    def varying(self) -> list[str]:
        """The attributes that are arguments."""
        first = self.uses[0]
        keys = [
            key for key in first
            if any(use[key] != first[key] or use[key] is None for use in self.uses)
        ]  # fmt: skip
        return sorted(keys, key=lambda key: self._default(key) is not None)

    def _default(self, key: str) -> Any:
        """What may be left out: the op's own default, where some use has it."""
        default = DEFAULTS.get(key)
        plain = self.forms.get(key, windows.ONE) == windows.ONE
        return default if plain and any(use[key] == default for use in self.uses) else None

    def source(self, linear: str = "") -> str:
        """The method as text; `linear` is the method that projects, for attention."""
        arguments = [*SPECS[self.op].tensors(self.traits)]
        texts: dict[str, str] = {"linear": linear}
        for key in self.varying():
            default = self._default(key)
            given = "" if default is None else f" = {default}"
            arguments.append(f"{key}: {self._hint(key)}{given}")
            texts[key] = key
        for key in self.uses[0].keys() - texts.keys():
            texts[key] = text(literal(self.uses[0][key]))
        if self.forms:
            texts |= self._windows(texts)
        lines = SPECS[self.op].render(self.traits, texts)
        body = "\n".join(f"    {line}" if line else "" for line in lines)
        several = SPECS[self.op].count(self.traits)
        kind = "ov.Node" if several == 1 else f"tuple[{', '.join(['ov.Node'] * several)}]"
        return f"def {self.name}(self, {', '.join(arguments)}) -> {kind}:\n{body}\n"

    def _hint(self, key: str) -> str:
        """The annotation of an argument."""
        if key in self.forms:
            return windows.TYPES[self.forms[key]]
        kinds = {hint(use[key]) for use in self.uses if use[key] is not None}
        return kinds.pop() if len(kinds) == 1 else "int"

    def _windows(self, texts: Texts) -> dict[str, str]:
        """Lists for the axes, of numbers or arguments; `pads` are those of both ends."""
        count, forms = self.traits[0], self.forms
        names = [key for key in forms if key != "pad"]
        made = {key: windows.listed(texts[key], forms[key], count) for key in names}
        return {**made, "pads": ", ".join(windows.ends(texts["pad"], forms["pad"], count))}

    def call(self, apply: Apply, p: Parts, name: Expr, hypers: Mapping[str, Any]) -> Expr:
        """Its application; `hypers` are samples of the hyper-parameters in sight."""
        given = SPECS[self.op].given(p)
        values = attributes(apply)
        call = tree(f"self.{self.name}(*{{xs}})", xs=[given[0], name, *given[1:]])
        assert isinstance(call, ast.Call)
        gap = False
        for key in self.varying():
            value = values_as_tree(apply, key, values)
            if key in self.forms:
                own = windows.form(apply, key, hypers)
                value = windows.argument(value, own, self.forms[key], self.traits[0])
            value = p.place(value)
            if values[key] is not None and values[key] == self._default(key):
                gap = True
            elif gap or key == "pad":
                gap = True
                call.keywords.append(ast.keyword(key, value))
            else:
                call.args.append(value)
        return call


DEFAULTS: Mapping[str, Any] = {"stride": 1, "pad": 0, "dilation": 1, "groups": 1, "output_pad": 0}
"""Arguments that may be left out."""


def values_as_tree(apply: Apply, key: str, values: Mapping[str, Any]) -> Expr:
    """The value of an argument: the source's expression, or the literal."""
    if key in apply.attrs and number(apply.attrs[key]) is None and values[key] is None:
        return apply.attrs[key]
    return literal(values[key])


def attributes(apply: Apply) -> dict[str, Any]:
    """What a method must be told, by name; None where an expression tells it."""
    values: dict[str, Any] = {}
    for key in SPECS[apply.op.name].attrs:
        if key in windows.KEYS:
            values[key] = windows.value(apply, key)
        else:
            values[key] = number(apply.attrs[key])
    return values


@dataclass(frozen=True, slots=True)
class Spec:
    """How a kind of layer is written.

    `attrs` are attributes that may be arguments; `traits` what decides on another method; `given`
    the tensors of a call, and `tensors` the arguments for them; `count` how many it makes.
    """

    attrs: tuple[str, ...]
    render: Callable[[tuple[Any, ...], Texts], list[str]]
    traits: Callable[[Apply], tuple[Any, ...]] = lambda apply: (_biased(apply),)
    given: Callable[[Parts], list[Expr]] = lambda p: [p[p.op.inputs[0].rstrip("?")]]
    tensors: Callable[[tuple[Any, ...]], Sequence[str]] = lambda traits: (
        "x: ov.Output",
        "name: str",
    )
    count: Callable[[tuple[Any, ...]], int] = lambda traits: 1


def _biased(apply: Apply) -> bool:
    return any(part.endswith("bias") for part in apply.weights)


CONSTANT = 'self.constant(f"{name}.%s"%s)'


def _weight(part: str, shape: str = "") -> str:
    return CONSTANT % (part, shape and f", {shape}")


def _linear(traits: tuple[Any, ...], texts: Texts) -> list[str]:
    del texts
    product = f"ops.matmul(x, {_weight('weight')}, transpose_a=False, transpose_b=True"
    if not traits[0]:
        return [f"return {product}, name=name)"]
    return [f"y = {product})", f"return ops.add(y, {_weight('bias')}, name=name)"]


def _spatial(apply: Apply) -> tuple[Any, ...]:
    x = next(v for v in apply.inputs if v is not None)
    grouped = number(apply.attrs["groups"]) != 1
    return x.type.rank - 2, _biased(apply), grouped, windows.same(apply)


def _with_bias(made: str, count: int, biased: bool) -> list[str]:
    if not biased:
        return [f"return {made}, name=name)"]
    shape = str([1, -1, *[1] * count])
    return [f"y = {made})", f"return ops.add(y, {_weight('bias', shape)}, name=name)"]


def _grouped(texts: Texts, grouped: bool) -> list[str]:
    """The kernel; OpenVINO wants an axis of groups before all others."""
    if not grouped:
        return [f"weight = {_weight('weight')}"]
    split = f"[{texts['groups']}, -1, *shape[1:]]"
    return [
        'shape = self.weights[f"{name}.weight"].shape',
        f"weight = {_weight('weight', split)}",
    ]


def _conv(traits: tuple[Any, ...], texts: Texts) -> list[str]:
    count, biased, grouped, same = traits
    op = "group_convolution" if grouped else "convolution"
    arguments = f"x, weight, {texts['stride']}, {texts['pads']}, {texts['dilation']}"
    arguments += ", 'same_upper'" if same else ""
    return [*_grouped(texts, grouped), *_with_bias(f"ops.{op}({arguments}", count, biased)]


def _conv_transpose(traits: tuple[Any, ...], texts: Texts) -> list[str]:
    count, biased, grouped, _ = traits
    op = "group_convolution_backprop_data" if grouped else "convolution_backprop_data"
    made = (
        f"ops.{op}(x, weight, {texts['stride']}, None, {texts['pads']}, {texts['dilation']}, "
        f"'explicit', {texts['output_pad']}"
    )
    return [*_grouped(texts, grouped), *_with_bias(made, count, biased)]


def _batch_norm(traits: tuple[Any, ...], texts: Texts) -> list[str]:
    del traits
    return [
        "gamma, beta, mean, variance = (",
        '    self.constant(f"{name}.{part}")',
        '    for part in ("weight", "bias", "running_mean", "running_var")',
        ")",
        "return ops.batch_norm_inference("
        f"x, gamma, beta, mean, variance, {texts['eps']}, name=name)",
    ]


def _affine(apply: Apply) -> tuple[Any, ...]:
    x = next(v for v in apply.inputs if v is not None)
    return x.type.rank - 2, "weight" in apply.weights, "bias" in apply.weights


def _scaled(y: str, weight: bool, bias: bool, shape: str = "") -> list[str]:
    """`return y * weight + bias`, of which a part may be missing."""
    if not weight:
        return [f"return {y}"]
    scaled = f"ops.multiply(y, {_weight('weight', shape)}"
    if not bias:
        return [f"y = {y}", f"return {scaled}, name=name)"]
    return [f"y = {y}", f"return ops.add({scaled}), {_weight('bias', shape)}, name=name)"]


def _mvn(axes: str, eps: str) -> str:
    return f'ops.mvn(x, {axes}, normalize_variance=True, eps={eps}, eps_mode="inside_sqrt")'


def _layer_norm(traits: tuple[Any, ...], texts: Texts) -> list[str]:
    _, weight, bias = traits
    return _scaled(_mvn("[-1]", texts["eps"]), weight, bias)


def _instance_norm(traits: tuple[Any, ...], texts: Texts) -> list[str]:
    count, weight, bias = traits
    shape = str([-1, *[1] * count])
    return _scaled(_mvn(str([*range(2, count + 2)]), texts["eps"]), weight, bias, shape)


def _rms_norm(traits: tuple[Any, ...], texts: Texts) -> list[str]:
    _, weight, _bias = traits
    square = "ops.reduce_mean(ops.multiply(x, x), [-1], keep_dims=True)"
    return [
        f"scale = ops.sqrt(ops.add({square}, np.float32({texts['eps']})))",
        *_scaled("ops.divide(x, scale)", weight, False),
    ]


def _group_norm(traits: tuple[Any, ...], texts: Texts) -> list[str]:
    del traits
    arguments = f"{_weight('weight')}, {_weight('bias')}, {texts['groups']}, {texts['eps']}"
    return [f"return ops.group_normalization(x, {arguments}, name=name)"]


INLINE: Mapping[str, str] = {
    "embedding": "ops.gather({weight}, {index}, 0)", "prelu": "ops.prelu({x}, {weight})",
}  # fmt: skip
"""Layers that are one op on one weight."""

SPECS: Mapping[str, Spec] = {
    "linear": Spec((), _linear),
    "conv": Spec(("stride", "pad", "dilation", "groups"), _conv, _spatial),
    "conv_transpose": Spec(
        ("stride", "pad", "dilation", "output_pad", "groups"), _conv_transpose, _spatial
    ),
    "batch_norm": Spec(("eps",), _batch_norm),
    "layer_norm": Spec(("eps",), _layer_norm, _affine),
    "instance_norm": Spec(("eps",), _instance_norm, _affine),
    "rms_norm": Spec(("eps",), _rms_norm, _affine),
    "group_norm": Spec(("groups", "eps"), _group_norm),
    "attention": Spec(
        ("heads",), attention.lines, attention.traits, attention.given, attention.tensors
    ),
    **dict.fromkeys(
        recurrent.STATES,
        Spec(
            ("layers",), recurrent.lines, recurrent.traits, recurrent.given, recurrent.tensors,
            recurrent.count,
        ),
    ),
}  # fmt: skip


class Methods:
    """The methods that a program needs."""

    def __init__(self, program: Program, fresh: Callable[[str], str]) -> None:
        self.found: dict[tuple[str, tuple[Any, ...]], Method] = {}
        self.ports = any(passes_ports(cls) for cls in program.classes)
        for cls in program.classes:
            for statement in walk(cls.body):
                layer = isinstance(statement, Apply) and statement.member is not None
                if isinstance(statement, Apply) and layer and statement.op.name in SPECS:
                    self._use(statement, fresh, {h.name: h.value for h in cls.params})

    def _use(self, apply: Apply, fresh: Callable[[str], str], hypers: Mapping[str, Any]) -> None:
        key = (apply.op.name, SPECS[apply.op.name].traits(apply))
        if key[0] == "attention":
            self._project(key[1][-1], fresh)
        if key not in self.found:
            self.found[key] = Method(apply.op.name, fresh(apply.op.name), key[1])
        self.found[key].use(apply, hypers)

    def _project(self, biased: bool, fresh: Callable[[str], str]) -> None:
        """The linear layers that attention is made of."""
        if ("linear", (biased,)) not in self.found:
            method = Method("linear", fresh("linear"), (biased,))
            self.found["linear", (biased,)] = method
            method.uses.append({})

    def source(self) -> list[str]:
        """All of them as text."""
        return [
            method.source(self.found["linear", method.traits[-1:]].name)
            if method.op == "attention"
            else method.source()
            for method in self.found.values()
        ]

    def readers(self) -> list[str]:
        """Methods that read the weights of recurrent layers, once for each kind."""
        kinds = {(m.op, m.traits[2]): m for m in self.found.values() if m.op in recurrent.STATES}
        made = [recurrent.helper(kind, biased) for kind, biased in kinds]
        return [recurrent.TENSOR, *made] if made else []

    def of(self, apply: Apply) -> Method:
        """The method for a layer."""
        return self.found[apply.op.name, SPECS[apply.op.name].traits(apply)]


def _plain_product(node: Node) -> bool:
    """Whether OpenVINO's own product of attention does it: alike stacks, and one kind of mask."""
    q, k, v, mask, bias = node.inputs
    assert q is not None
    assert k is not None
    assert v is not None
    stacks = {t.type.shape[:-2] for t in (q, k, v)}
    even = not node.attrs["causal"] or q.type.shape[-2] == k.type.shape[-2]
    if bias is not None or node.attrs["grouped"]:
        return False
    one = mask is None or (not node.attrs["causal"] and q.type.dtype == "f32")
    return one and len(stacks) == 1 and q.type.rank > 2 and even


def native(node: Node) -> bool:
    """Whether a node stays as it is; the rest is written out in smaller ops."""
    name, attrs = node.op.name, node.attrs
    if node.blocks or node.op is NOISE:
        return True
    if name in ("max_pool", "avg_pool"):
        return not attrs["ceil"]
    if name == "sdpa":
        return _plain_product(node)
    if name in PLACED:
        return PLACED[name](node)
    if node.layer is None or name not in {*SPECS, *INLINE}:
        return name in RULES or (node.layer is None and has_row(node))
    weights = set(node.layer.weights)
    x = next(v for v in node.inputs if v is not None)
    match name:
        case "rnn" | "lstm" | "gru":
            return recurrent.native(node)
        case "layer_norm" | "rms_norm":
            return tuple(attrs["axes"]) == (x.type.rank - 1,)
        case "attention":
            return attrs["kv_heads"] is None
        case "batch_norm":
            return {"weight", "bias"} <= weights
        case "group_norm":
            return {"weight", "bias"} <= weights and x.type.rank > 2
    return True
