"""Recurrent layers: what they refuse, and what the lengths of rows mean."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mlc.compiler.dim import symbol
from mlc.compiler.graph import Type
from mlc.compiler.op import TypeMismatch, complete
from mlc.compiler.ops import OPS
from mlc.compiler.ops.recurrent import WEIGHTS

B, T = symbol("B"), symbol("T")
X = Type("f32", (B, T, 4), ("B", "T", "C"))


def infer(name: str, x: Type, *given: Type | None, **attrs: Any) -> tuple[Type, ...]:
    op = OPS[name]
    assert op.params is not None
    more = complete(op, attrs)
    slots = [*given, *[None] * (len(op.inputs) - 1 - len(given))]
    made = op.params(x, *slots, **more)
    weights = [made[n.rstrip("?")].type if n.rstrip("?") in made else None for n in WEIGHTS]
    result = op.infer(x, *slots, *weights, **more)
    assert isinstance(result, tuple)
    return result


def test_results_keep_labels_and_sizes() -> None:
    y, h, c = infer("lstm", X, hidden=3, layers=2, bidirectional=True)
    assert (y.shape, y.labels) == ((B, T, 6), ("B", "T", None))
    assert (h.shape, h.labels) == ((4, B, 3), (None, "B", None))
    assert c == h


@pytest.mark.parametrize(
    ("name", "given", "attrs", "says"),
    [
        ("gru", (), {"layers": 9}, "gru has 1 to 8 layers, not 9"),
        ("rnn", (), {"layers": 0}, "rnn has 1 to 8 layers, not 0"),
        ("lstm", (Type("f32", (1, B, 3)),), {}, "lstm takes both h0 and c0, or neither"),
        ("gru", (Type("f32", (1, B, 4)),), {}, "takes a h0 of shape [1, B, 3]"),
        ("gru", (None, Type("i32", (B, 1))), {}, "takes lengths of shape [B]"),
        ("gru", (None, Type("f32", (B,))), {}, "integers"),
    ],
)
def test_what_does_not_fit_is_refused(
    name: str, given: tuple[Type | None, ...], attrs: dict[str, Any], says: str
) -> None:
    with pytest.raises(TypeMismatch) as refused:
        infer(name, X, *given, hidden=3, **attrs)
    assert says in str(refused.value)


def test_it_takes_three_axes() -> None:
    with pytest.raises(TypeMismatch, match=r"takes \(batch, steps, width\), and gets"):
        infer("gru", Type("f32", (B, 4)), hidden=3)


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru"])
def test_a_row_is_what_it_would_be_alone(name: str) -> None:
    op, random = OPS[name], np.random.default_rng(0)
    assert op.params is not None
    attrs = complete(op, {"hidden": 3, "bidirectional": True, "layers": 2})
    absent = [None] * (len(op.inputs) - 2)
    made = op.params(Type("f32", (2, 5, 4)), *absent, None, **attrs)
    arrays = {n: random.normal(size=p.type.shape) for n, p in made.items()}
    weights = [arrays.get(n.rstrip("?")) for n in WEIGHTS]
    x = random.normal(size=(2, 5, 4))
    y, *last = op.eval(x, *absent, np.array([2, 5]), *weights, **attrs)
    alone, *own = op.eval(x[:1, :2], *absent, None, *weights, **attrs)
    np.testing.assert_allclose(y[:1, :2], alone, rtol=1e-12)
    assert not y[0, 2:].any()
    for a, b in zip(last, own, strict=True):
        np.testing.assert_allclose(a[:, :1], b, rtol=1e-12)
