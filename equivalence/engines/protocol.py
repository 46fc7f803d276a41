"""What passes between verify and an engine: jobs, results, and the frames that carry them."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import IO, Any, TypeAlias

Arrays: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """One run of the model in an artefact folder, in the target's names, layouts and axis orders.

    weights     path of a safetensors file under the target's keys
    inputs      the names of all inputs, in order; those that `feeds` lacks are left out (`in?`)
    outputs     the names of all outputs, in order
    cotangents  output -> array of its shape: the gradients of sum(output * cotangent) are wanted.
                Empty: none are.
    training    the mode; every dropout has rate 0
    watch       instead, at the artefact's own rates: what its dropout layers do in two calls, and
                what noise it draws in them
    trace       names of layers, whose results are wanted too; no gradients then
    lower       instead: what a call, and its gradients, multiply when lowered for a TPU
    noise       (distribution, array) for each draw of the file, in their order: what it is to draw
    """

    folder: str
    weights: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    feeds: Arrays
    cotangents: Arrays = field(default_factory=dict)
    training: bool = False
    watch: bool = False
    trace: tuple[str, ...] = ()
    lower: bool = False
    noise: tuple[tuple[str, Any], ...] = ()


Products: TypeAlias = Mapping[tuple[str, str, str], int]
"""How many products of matrices: op, and element types of both operands."""


@dataclass(frozen=True)
class Drop:
    """What one call of a dropout layer did: where, at which rate, and to how many of its elements.

    `zeros` of the `count` elements that were not zero before became zero; `scale` is the largest
    relative error of the others against input / (1 - rate); `digest` tells one mask from another.
    """

    name: str
    rate: float
    count: int
    zeros: int
    scale: float
    digest: str


@dataclass(frozen=True)
class Draw:
    """What one draw of noise gave: how many numbers, their sum, that of their squares, the least
    and the greatest; `digest` tells one draw from another."""

    distribution: str
    count: int
    total: float
    squares: float
    least: float
    greatest: float
    digest: str


@dataclass(frozen=True)
class Result:
    """What a run gave: arrays by name, gradients and updated tensors under the target's keys.

    `trace` holds what each call of a layer that was asked for gave, `products` by program
    ("forward", "gradient") what a TPU is to multiply.
    """

    outputs: Arrays
    input_gradients: Arrays = field(default_factory=dict)
    parameter_gradients: Arrays = field(default_factory=dict)
    updates: Arrays = field(default_factory=dict)
    drops: tuple[Drop, ...] = ()
    draws: tuple[Draw, ...] = ()
    trace: dict[str, list[Any]] = field(default_factory=dict)
    products: dict[str, Products] = field(default_factory=dict)


@dataclass(frozen=True)
class Settings:
    """What an engine runs on, for the report: versions of packages, device, precision, threads."""

    versions: Mapping[str, str]
    device: str
    precision: str
    threads: int


@dataclass(frozen=True)
class Failure:
    """An engine could not do a job, and lives on: `kind` is the exception's class."""

    kind: str
    message: str
    missing: bool = False


def write(stream: IO[bytes], message: object) -> None:
    """Sends one message."""
    data = pickle.dumps(message, protocol=5)
    stream.write(struct.pack("<Q", len(data)) + data)
    stream.flush()


def read(stream: IO[bytes]) -> Any:
    """The next message; EOFError if the other side has gone."""
    header = stream.read(8)
    if len(header) < 8:
        raise EOFError
    (length,) = struct.unpack("<Q", header)
    data = stream.read(length)
    if len(data) < length:
        raise EOFError
    return pickle.loads(data)
