"""Random numbers from noise, which a `noise` line draws, or which is an input."""

from __future__ import annotations

from typing import Any

from ..graph import Type, Value
from ..op import Build, Config, Op, TypeMismatch
from .broadcast import broadcast, require_floating, require_same_dtype
from .compare import LESS
from .elementwise import ADD, MUL


def _normal_infer(noise: Type, mean: Type, deviation: Type) -> Type:
    require_floating("normal", noise, mean, deviation)
    require_same_dtype("normal", noise, mean, deviation)
    return broadcast(noise, mean, deviation)


NORMAL = Op(
    "normal",
    inputs=("noise", "mean", "deviation"),
    infer=_normal_infer,
    eval=lambda noise, mean, deviation: noise * deviation + mean,
    body=lambda b, noise, mean, deviation: b(ADD, b(MUL, noise, deviation), mean),
    rounding="body",
    layout="any",
    samples=(
        {"noise": (3, 5), "mean": (3, 5), "deviation": (3, 5)},
        {"noise": (4, 3, 5), "mean": (5,), "deviation": (3, 1)},
        {"noise": (), "mean": (), "deviation": ()},
    ),
    doc="mean + deviation * noise: normal numbers from standard normal noise.",
)


def _uniform_infer(noise: Type, low: float, high: float) -> Type:
    require_floating("uniform", noise)
    if not low < high:
        raise TypeMismatch(f"uniform is from {low} to {high}, which is not above", "value")
    return noise


def _uniform_body(b: Build, noise: Value, low: float, high: float) -> Value:
    scaled: Value = noise if high - low == 1 else b(MUL, noise, high - low)
    result: Value = scaled if low == 0 else b(ADD, scaled, low)
    return result


UNIFORM = Op(
    "uniform",
    inputs=("noise",),
    config={"low": Config("float", 0.0), "high": Config("float", 1.0)},
    infer=_uniform_infer,
    eval=lambda noise, low, high: noise * (high - low) + low,
    body=_uniform_body,
    rounding="body",
    layout="any",
    samples=(
        {"noise": ((3, 5), "f32", 0.0, 1.0), "high": 2.0},
        {"noise": ((3, 5), "f32", 0.0, 1.0), "low": -2.0, "high": 3.5},
    ),
    doc="low + (high - low) * noise: uniform numbers from noise in 0 .. 1.",
)


def _bernoulli_infer(noise: Type, probability: Type) -> Type:
    require_floating("bernoulli", noise, probability)
    require_same_dtype("bernoulli", noise, probability)
    return broadcast(noise, probability, dtype="bool")


def _bernoulli(noise: Any, probability: Any) -> Any:
    return noise < probability


BERNOULLI = Op(
    "bernoulli",
    inputs=("noise", "probability"),
    infer=_bernoulli_infer,
    eval=_bernoulli,
    body=lambda b, noise, probability: b(LESS, noise, probability),
    grad=None,
    rounding="exact",
    layout="any",
    samples=(
        {"noise": ((3, 5), "f32", 0.0, 1.0), "probability": ((3, 5), "f32", 0.0, 1.0)},
        {"noise": ((4, 3), "f32", 0.0, 1.0), "probability": [0.0, 0.5, 1.0]},
    ),
    doc="Whether noise is below probability: true that often, of noise in 0 .. 1.",
)

NOISE = (NORMAL, UNIFORM, BERNOULLI)
