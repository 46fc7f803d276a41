"""Every sample of every op on every target, by the protocol of `mlc verify`, many at a time.

A batch is one model with a node, inputs and outputs of their own for each of its samples, so that
each target compiles it once. Its reference is measured once for all targets, and each sample is
judged by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mlc.backends import TARGETS
from mlc.backends.artefact import Deviation
from mlc.compiler.diagnose import MlcError
from mlc.compiler.graph import (
    Definition,
    Graph,
    Init,
    Input,
    Layer,
    Node,
    Scope,
    Type,
    Value,
    Weight,
)
from mlc.compiler.op import Build, Op
from mlc.compiler.ops.constant import numpy_dtype
from mlc.compiler.ops.elementwise import NEG
from mlc.compiler.run import run
from mlc.equivalence import Emitted
from mlc.equivalence.compare import LIMIT, Row, Scale, judge, scales
from mlc.equivalence.deviation import deviate
from mlc.equivalence.engines.pool import Pool
from mlc.equivalence.noise import downstream, measure
from mlc.equivalence.reference import Feed, Joint, Key, joint
from mlc.equivalence.target import Target
from tests.compiler.ops.sample import cases, drawn, make

NARROW = {np.dtype("i8"): np.dtype("i4"), np.dtype("f8"): np.dtype("f4")}

SIZE = 45
"""How many samples a batch has, or a few more: those of an op stay together."""


class Case(NamedTuple):
    """A sample of an op. Its tensors in a batch are called `<op>_<number>_<name>`."""

    op: Op
    number: int

    @property
    def title(self) -> str:
        return f"{self.op.name}_{self.number}"

    @property
    def training(self) -> bool:
        return bool(self.op.samples[self.number].get("training"))


@dataclass
class Batch:
    """Samples of one mode that are compiled together."""

    cases: list[Case]

    @property
    def training(self) -> bool:
        return self.cases[0].training

    @property
    def mode(self) -> str:
        return "training" if self.training else "inference"

    def __str__(self) -> str:
        first, last = self.cases[0].op.name, self.cases[-1].op.name
        return f"{first}-to-{last}{'-in-training' * self.training}"

    @cached_property
    def reference(self) -> Reference:
        return Reference(self)

    def missing(self, found: Found) -> set[Key]:
        """The tensors of samples that a target writes, and has not given."""
        written = [case for case in self.cases if case not in found.refused]
        wanted = {key for key in self.reference.truth if any(of(case, key) for case in written)}
        return wanted - found.seen


def batches() -> Iterator[Batch]:
    """All samples of all ops, each in one batch."""
    for training in (False, True):
        held: list[Case] = []
        for case in (Case(*pair) for pair in cases()):
            if case.training != training:
                continue
            if len(held) >= SIZE and held[-1].op is not case.op:
                yield Batch(held)
                held = []
            held.append(case)
        yield Batch(held)


class Model:
    """The samples as one graph; `arrays` are what its inputs and weights are, exact in f32."""

    def __init__(self, samples: list[Case]) -> None:
        self.graph = Graph("Matrix", Scope("model"))
        self.arrays: dict[str, np.ndarray] = {}
        for case in samples:
            self._add(case)
        graph = self.graph
        also = Input("also", Type("f32", (2,)))  # a model needs an input and an output of floats
        graph.inputs.append(also)
        self.arrays["also"] = np.ones(2)
        graph.outputs["result"] = Build(graph)(NEG, also)
        names = tuple(x.name for x in graph.inputs)
        graph.root.definition = Definition("Matrix", "model", {}, {}, names, tuple(graph.outputs))

    def _add(self, case: Case) -> None:
        op, made = case.op, make(*case)
        twins: dict[Value, Value] = {}
        for x in made.graph.inputs:
            twins[x] = Input(f"{case.title}_{x.name}", x.type)
            self.graph.inputs.append(twins[x])
            self.arrays[twins[x].name] = made.arrays[x.name]
        attrs = dict(made.node.attrs)
        if "training" in attrs and op.layer:
            attrs["training"] = None
        layer = Layer(op, self.graph.root, case.title, None, case.title, attrs, {}, 0)
        for part, weight in made.graph.weights.items():
            twins[weight] = self._weight(layer, part, weight)
            self.arrays[twins[weight].name] = made.arrays[part]
        if op.layer:
            self.graph.layers.append(layer)
        slots = [None if value is None else twins[value] for value in made.node.inputs]
        node = Build(self.graph).node(op, slots, attrs, layer=layer if op.layer else None)
        self._leave(case, node, layer)

    def _weight(self, layer: Layer, part: str, old: Weight) -> Weight:
        path, trained = f"{layer.path}.{part}", not part.startswith("running")
        new = Weight(
            path, old.type, Init("zeros"), trainable=trained, scope=self.graph.root, part=part
        )
        new.layer, new.name = layer, path
        layer.weights[part] = self.graph.weights[path] = new
        return new

    def _leave(self, case: Case, node: Node, layer: Layer) -> None:
        """What the node makes are outputs, or what buffers are after a call in training."""
        results = node.outputs
        if case.op.effect == "state":
            results, after = node.outputs[:1], node.outputs[1:]
            held = [weight for weight in layer.weights.values() if not weight.trainable]
            for buffer, value in zip(held, after, strict=True):
                self.graph.updates[buffer] = (value, "training")
        for i, value in enumerate(results):
            self.graph.outputs[f"{case.title}_y{i}"] = value


class Reference:
    """What a batch must give, and how far rounding to f32 may move it."""

    def __init__(self, batch: Batch) -> None:
        model = Model(batch.cases)
        self.both: Joint = joint(model.graph, batch.training)
        random = np.random.default_rng(0)
        inputs = {x.name: model.arrays[x.name] for x in model.graph.inputs}
        weights = {path: model.arrays[path] for path in model.graph.weights}
        with np.errstate(all="ignore"):
            found = run(self.both.forward, inputs, weights)
            self.cotangents = {
                name: random.normal(size=found.outputs[name].shape).astype(np.float32)
                for name, value in model.graph.outputs.items()
                if value.type.floating
            }
            feed = Feed(found.sizes, inputs, self.cotangents, weights)
            self.exact = self.truth = self.both.run(feed)
            noise = measure(self.both, feed, random, strict=False)
        self.dtypes = {
            Key("output", name): np.dtype(numpy_dtype(value.type.dtype))
            for name, value in model.graph.outputs.items()
        }
        self.feed = feed
        self.hidden = downstream(noise.hazards, self.both)
        self.scales: dict[Key, Scale] = {}
        for case in batch.cases:
            own = {key: y for key, y in self.truth.items() if of(case, key)}
            self.scales |= scales(own, noise.yardsticks)

    def declare(self, deviations: Sequence[Deviation]) -> None:
        """Makes `truth` what a target should give that declares these deviations."""
        with np.errstate(all="ignore"):
            self.truth = deviate(self.both, self.feed, self.exact, deviations)


def of(case: Case, key: Key) -> bool:
    """Whether a tensor is one of the sample's."""
    return key.name.startswith((f"{case.title}_", f"{case.title}."))


def single(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays in f32 where they are held in float64."""
    return {n: x.astype(np.float32) if x.dtype == np.float64 else x for n, x in arrays.items()}


@dataclass
class Found:
    """What one target made of a batch.

    `different` are the tensors that are not the reference's, or not of their type, with the places
    of the elements;
    `unseen` those that noise covers though nobody chose the numbers; `refused` the samples that it
    does not write, with the code and message of the error.
    """

    different: dict[tuple[Case, Key], tuple[Row, tuple[int, ...]]] = field(default_factory=dict)
    unseen: dict[tuple[Case, Key], Row] = field(default_factory=dict)
    refused: dict[Case, MlcError] = field(default_factory=dict)
    seen: set[Key] = field(default_factory=set)


def judged(batch: Batch, target: str, pool: Pool, folder: Path) -> Found:
    """Emits the batch for a target, runs it forward and backward, and compares."""
    found, reference = Found(), batch.reference
    for samples, emitted in _emitted(batch.cases, batch, target, folder / target, found):
        for key, array in _run(emitted, samples, batch, target, pool):
            case = next((case for case in samples if of(case, key)), None)
            if case is not None and key in reference.truth:
                _judge(found, reference, case, key, array, narrow=target == "jax")
    return found


def _emitted(
    samples: list[Case], batch: Batch, target: str, folder: Path, found: Found
) -> Iterator[tuple[list[Case], Emitted]]:
    """The samples that the target writes, in as few models as can be."""
    graph, emit = Model(samples).graph, TARGETS[target].emit
    try:
        plain = emit(graph, "matrix")
        both = (
            emit(graph, "matrix", gradients=True, training=batch.training)
            if TARGETS[target].gradients
            else None
        )
    except MlcError as error:
        if len(samples) == 1:
            found.refused[samples[0]] = error
            return
        half = len(samples) // 2
        yield from _emitted(samples[:half], batch, target, folder / "0", found)
        yield from _emitted(samples[half:], batch, target, folder / "1", found)
        return
    more = {batch.mode: both.save(folder / "gradients")} if both else {}
    yield samples, Emitted(plain.save(folder / "plain"), more)


def _run(
    emitted: Emitted, samples: list[Case], batch: Batch, target: str, pool: Pool
) -> Iterator[tuple[Key, np.ndarray]]:
    """What the target gives, by each of its files that has the mode."""
    model = Model(samples)
    arrays = single(model.arrays)
    feed = Feed(
        {},
        {x.name: arrays[x.name] for x in model.graph.inputs},
        {n: g for n, g in batch.reference.cotangents.items() if n in model.graph.outputs},
        {path: arrays[path] for path in model.graph.weights},
    )
    runner = Target(target, emitted, Path(emitted.folder).parent)
    batch.reference.declare(runner.deviations)
    for part in runner.parts(batch.mode):
        result = pool[target].submit(part.job(feed, batch.training, "weights")).result()
        yield from part.tensors(result).items()


def _judge(
    found: Found, reference: Reference, case: Case, key: Key, array: np.ndarray, narrow: bool
) -> None:
    """Enters what a tensor is. Noise may cover one of chosen numbers, or one that has a step.

    `narrow`: the target has no types of 64 bits.
    """
    truth, scale = reference.truth[key], reference.scales[key]
    kind = reference.dtypes.get(key, np.dtype("f4"))
    if array.dtype != (NARROW.get(kind, kind) if narrow else kind):
        row = Row("", "", "", *key, "different", note=f"it is of {array.dtype}, not {kind}")
        found.different[case, key] = row, (-1,)
        return
    with np.errstate(all="ignore"):
        row = judge(Row("", "", "", *key, "failed"), array, truth, scale)
    found.seen.add(key)
    if row.verdict == "unseen":
        if drawn(*case) and key not in reference.hidden:
            found.unseen[case, key] = row
    elif row.verdict != "equal":
        found.different[case, key] = row, places(array, truth, scale)


COARSE = ("embedding", "attention")
"""Ops whose layers of NNX compute in the type that their parameters are declared with, f32."""


def in_float64(batch: Batch, folder: Path) -> Iterator[tuple[Case, Key, tuple[int, ...]]]:
    """Tensors that JAX, in float64 and with its own gradients, makes otherwise, and where.

    To be called where JAX has 64 bits.
    """
    from mlc.equivalence.engines import jax

    for samples, emitted in _emitted(batch.cases, batch, "jax", folder, Found()):
        graph = Model(samples).graph
        whole = batch.reference.feed
        feed = Feed(
            {},
            {x.name: whole.inputs[x.name] for x in graph.inputs},
            {n: g.astype(np.float64) for n, g in whole.cotangents.items() if n in graph.outputs},
            {path: whole.weights[path] for path in graph.weights},
        )
        runner = Target("jax", emitted, folder)
        batch.reference.declare(runner.deviations)
        result = jax.run(runner.job(feed, batch.training, "weights"))
        for key, array in runner.tensors(result).items():
            case = next((case for case in samples if of(case, key)), None)
            want = batch.reference.truth.get(key)
            if case is not None and want is not None:
                scale = np.abs(want[np.isfinite(want)]).max(initial=0.0)
                limit = 1e-5 * scale + 1e-5 if case.op.name in COARSE else 1e-9 * scale + 1e-12
                yield case, key, _away(array, want, limit)


def places(array: np.ndarray, truth: np.ndarray, scale: Scale) -> tuple[int, ...]:
    """Which elements differ, counted in one row."""
    return _away(array, truth, LIMIT * scale.yardstick.most)


def _away(array: np.ndarray, truth: np.ndarray, limit: float) -> tuple[int, ...]:
    if array.shape != truth.shape:
        return (-1,)
    a, b = np.asarray(array, np.float64).ravel(), np.asarray(truth, np.float64).ravel()
    with np.errstate(all="ignore"):
        near = np.abs(a - b) <= limit if truth.dtype.kind == "f" else np.zeros(a.shape, bool)
        same = (a == b) | (np.isnan(a) & np.isnan(b)) | near
    return tuple(int(i) for i in np.flatnonzero(~same))
