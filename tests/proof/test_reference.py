"""Faults in what verify holds files to: the parser, elaboration, `eval` and gradients.

Nothing that was emitted shows those, for file and reference would share them. They are caught from
outside: by torch in float64 on the samples of every operator, and by files that engineers wrote.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import mlc
from mlc.compiler.op import Op
from mlc.compiler.ops import OPS
from mlc.equivalence import feeds
from mlc.equivalence.reference import Feed, Key, joint
from mlc.frontends.mdl.build import Builder
from mlc.frontends.mdl.parse import _parser
from tests.compiler.ops.sample import make
from tests.compiler.ops.test_meaning import close, oracle, outputs
from tests.handwritten.folders import CONFIG

EXAMPLES = Path(__file__).parents[2] / "examples"


@contextmanager
def changed(op: Op, field: str, value: Any) -> Iterator[None]:
    """An operator's record with another field, as long as the context is open."""
    kept = getattr(op, field)
    object.__setattr__(op, field, value)
    try:
        yield
    finally:
        object.__setattr__(op, field, kept)


# ------------------------------------------------------------------------------------- eval

Eval = Callable[..., Any]


def attr(name: str, change: Callable[[Any], Any]) -> Callable[[Eval], Eval]:
    """`eval` with another attribute."""
    return lambda f: lambda *xs, **attrs: f(*xs, **{**attrs, name: change(attrs[name])})


def given(slot: int, change: Callable[[Any], Any]) -> Callable[[Eval], Eval]:
    """`eval` of another input."""

    def wrap(f: Eval) -> Eval:
        return lambda *xs, **attrs: f(
            *(change(x) if i == slot and x is not None else x for i, x in enumerate(xs)), **attrs
        )

    return wrap


def result(change: Callable[..., Any]) -> Callable[[Eval], Eval]:
    """`eval` with another result."""
    return lambda f: lambda *xs, **attrs: change(f(*xs, **attrs), *xs)


EVALS: Mapping[str, tuple[str, Callable[[Eval], Eval]]] = {
    "the other GELU": ("gelu", attr("approximate", lambda v: "tanh" if v == "none" else "none")),
    "slope of leaky relu": ("leaky_relu", attr("slope", lambda v: 1.01 * v)),
    "eps of layer norm": ("layer_norm", attr("eps", lambda v: 1.2 * v)),
    "eps of batch norm": ("batch_norm", attr("eps", lambda v: 1.2 * v)),
    "eps of group norm": ("group_norm", attr("eps", lambda v: 1.2 * v)),
    "momentum": ("batch_norm", attr("momentum", lambda v: 1.1 * v)),
    "softmax over another axis": ("softmax", attr("axis", lambda v: v - 1 if v else 1)),
    "a kernel flipped": ("conv", given(1, lambda w: np.flip(w, -1))),
    "a bias dropped": ("linear", given(2, lambda b: 0 * b)),
    "scale of attention": ("sdpa", given(0, lambda q: 1.01 * q)),
    "a mask inverted": ("sdpa", given(3, np.logical_not)),
    "causal dropped": ("attention", attr("causal", lambda v: False)),
    "variance with n - 1": ("var", attr("correction", lambda v: 1 - v)),
    "division truncated": ("floor_div", lambda f: lambda a, b: np.trunc(a / b).astype(a.dtype)),
    "remainder of the dividend": ("mod", lambda f: lambda a, b: np.fmod(a, b)),
    "halves rounded up": ("round", lambda f: lambda x: np.floor(x + 0.5)),
    "order upside down": ("sort", attr("descending", lambda v: not v)),
    "sums that leave out themselves": ("cumsum", result(lambda y, x: y - x)),
    "padding counted": ("avg_pool", attr("count_pad", lambda v: not v)),
    "corners aligned": ("resize", attr("coordinates", lambda v: "align_corners")),
    "an embedding off by one": ("embedding", given(0, lambda i: np.maximum(i - 1, 0))),
    "gates in another order": ("lstm", given(1, lambda w: np.roll(w, 1, 0))),
    "the last element wrong": ("matmul", result(lambda y, *xs: _nudged(y))),
    "a label off by one": ("cross_entropy", given(1, lambda i: np.maximum(i - 1, 0))),
}
"""What is wrong -> the operator, and what is made of its `eval`."""


def _nudged(y: Any) -> Any:
    y = np.array(y)
    y.reshape(-1)[-1] *= 1 + 1e-9
    return y


@pytest.mark.parametrize("name", EVALS)
def test_the_oracle_of_operators_catches_a_wrong_eval(name: str) -> None:
    op, wrap = OPS[EVALS[name][0]], EVALS[name][1]
    with changed(op, "eval", wrap(op.eval)):
        assert any(not _agrees(op, number) for number in range(len(op.samples)))
    assert all(_agrees(op, number) for number in range(len(op.samples)))


def _agrees(op: Op, number: int) -> bool:
    sample = make(op, number)
    try:
        for got, want in zip(outputs(sample), oracle(sample)[0], strict=True):
            close(got, want.detach().numpy(), op, 1e-12)
    except (AssertionError, ValueError, IndexError):
        return False
    return True


# --------------------------------------------------------------------- parser and elaboration

NAMES = {"tiny_resnet": ("image", {"B": 5, "H": 7, "W": 11}), "gpt": ("ids", {"B": 5, "T": 7})}


def difference(name: str) -> float:
    """How far outputs, gradients and new buffers are from a handwritten file in float64."""
    sizes = NAMES[name][1]
    weights = _weights(name)
    graph = mlc.load(EXAMPLES / f"{name}.mdl", **CONFIG[name])
    rng = feeds.seeded(3)
    if {p: w.type.shape for p, w in graph.weights.items()} != {
        p: array.shape for p, array in weights.items()
    }:
        return np.inf
    feed = Feed(
        sizes, feeds.inputs(graph, sizes, rng, optional=False),
        feeds.cotangents(graph, sizes, rng), weights,
    )  # fmt: skip
    found = joint(graph, True).run(feed)
    wanted = _handwritten(name, feed)
    assert found.keys() >= wanted.keys()
    return max(_apart(found[key], wanted[key], wanted, key) for key in wanted)


def _apart(a: Any, b: Any, all_: Mapping[Key, Any], key: Key) -> float:
    size = max(float(np.max(np.abs(x))) for k, x in all_.items() if k.kind == key.kind)
    return float(np.max(np.abs(a - b))) / size if a.shape == b.shape else np.inf


def _handwritten(name: str, feed: Feed) -> dict[Key, Any]:
    """The same from PyTorch in float64, nothing dropped."""
    module = import_module(f"tests.handwritten.pytorch.{name}")
    model = module.build(**CONFIG[name]).double()
    model.load_state_dict({k: torch.from_numpy(np.asarray(w)) for k, w in feed.weights.items()},
                          strict=False)  # fmt: skip
    model.train()
    for part in model.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
    x = torch.from_numpy(np.array(feed.inputs[NAMES[name][0]]))
    x = x.double() if x.is_floating_point() else x
    logits = model(x)
    (logits * torch.from_numpy(feed.cotangents["logits"]).double()).sum().backward()
    found = {Key("output", "logits"): logits.detach().numpy()}
    for path, parameter in model.named_parameters():
        assert parameter.grad is not None
        found[Key("parameter gradient", path)] = parameter.grad.numpy()
    for path, buffer in model.named_buffers():
        if "running" in path:
            found[Key("update", path)] = buffer.numpy()
    return found


@cache
def _weights(name: str) -> dict[str, Any]:
    """Weights of the model as it is meant; the first call must be without a fault."""
    return feeds.weights(mlc.load(EXAMPLES / f"{name}.mdl", **CONFIG[name]), feeds.seeded(4))


def _swapped(f: Callable[..., Any]) -> Callable[..., Any]:
    """A pipe whose first two stages are exchanged."""

    def make_pipe(self: Any, span: Any, parts: Any) -> Any:
        pipe = f(self, span, parts)
        first, *more = pipe.stages
        return replace(pipe, stages=(more[0], first, *more[1:])) if more else pipe

    return make_pipe


def _of_tensors(f: Callable[..., Any]) -> Callable[..., Any]:
    """A sum that adds its second operand to itself."""

    def make_binary(self: Any, span: Any, parts: Any) -> Any:
        binary = f(self, span, parts)
        return replace(binary, left=binary.right) if binary.operator == "+" else binary

    return make_binary


PARSERS: Mapping[str, tuple[str, Callable[[Callable[..., Any]], Callable[..., Any]], str]] = {
    "stages of a pipe exchanged": ("make_pipe", _swapped, "gpt"),
    "true is read as false": (
        "make_word", lambda f: lambda self, span, parts: replace(f(self, span, parts), value=False),
        "gpt",
    ),
    "a sum of its second operand": ("make_binary", _of_tensors, "tiny_resnet"),
    "a table that is read backwards": (
        "make_list",
        lambda f: lambda self, span, parts: f(self, span, list(reversed(parts))),
        "tiny_resnet",
    ),
}  # fmt: skip
"""What is wrong -> the rule of the parser, what is made of it, and the model that shows it."""

DEFAULTS: Mapping[str, tuple[str, str, Any, str]] = {
    "eps of layer norm": ("layer_norm", "eps", 1.2e-5, "gpt"),
    "eps of batch norm": ("batch_norm", "eps", 1.2e-5, "tiny_resnet"),
    "momentum": ("batch_norm", "momentum", 0.11, "tiny_resnet"),
    "the other GELU": ("gelu", "approximate", "tanh", "gpt"),
    "scale of attention": ("attention", "scale", 0.3, "gpt"),
}
"""What is wrong -> the operator, the attribute whose default it is, and the model that shows it."""


@pytest.mark.parametrize("name", NAMES)
def test_without_a_fault_the_handwritten_files_agree(name: str) -> None:
    assert difference(name) < 1e-11


@pytest.mark.parametrize("name", PARSERS)
def test_handwritten_files_catch_a_wrong_parser(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rule, wrap, model = PARSERS[name]
    _weights(model)
    with monkeypatch.context() as patch:
        patch.setattr(Builder, rule, wrap(getattr(Builder, rule)))
        _parser.cache_clear()
        assert difference(model) > 1e-9
    _parser.cache_clear()


@pytest.mark.parametrize("name", DEFAULTS)
def test_handwritten_files_catch_a_wrong_default(name: str) -> None:
    op, key, value, model = DEFAULTS[name]
    config = {**OPS[op].config, key: replace(OPS[op].config[key], default=value)}
    _weights(model)
    with changed(OPS[op], "config", config):
        assert difference(model) > 1e-9


GRADS: Mapping[str, tuple[str, str]] = {
    "a gradient of layer norm": ("layer_norm", "gpt"),
    "a gradient of batch norm": ("batch_norm", "tiny_resnet"),
    "a gradient of convolutions": ("conv", "tiny_resnet"),
    "a gradient of linear layers": ("linear", "gpt"),
}
"""What is wrong -> the operator whose rule gives its first gradient 1e-6 too large, and a model."""


@pytest.mark.parametrize("name", GRADS)
def test_handwritten_files_catch_a_wrong_gradient(name: str) -> None:
    op, model = OPS[GRADS[name][0]], GRADS[name][1]
    rule = op.grad
    assert callable(rule)
    _weights(model)

    def wrong(b: Any, *args: Any, **attrs: Any) -> Any:
        found = list(rule(b, *args, **attrs))
        i = next(i for i, gradient in enumerate(found) if gradient is not None)
        found[i] = b(OPS["mul"], found[i], 1 + 1e-6)
        return found

    with changed(op, "grad", wrong):
        assert difference(model) > 1e-9
