"""Graphs as text: every op's samples, the examples and random graphs parse back to equal graphs."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlc import compile
from mlc.compiler.diagnose import MlcError
from mlc.compiler.dim import symbol
from mlc.compiler.equal import difference, equal
from mlc.compiler.graph import Fact, Graph, Init, Input, Node, Scope, Type, Value, Weight
from mlc.compiler.op import Build, Op
from mlc.compiler.ops import OPS
from mlc.compiler.ops.activation import RELU
from mlc.compiler.ops.control import IF, SCAN, WHILE, element
from mlc.compiler.ops.elementwise import ADD
from mlc.compiler.passes.expand import expand
from mlc.compiler.passes.grad import gradients
from mlc.compiler.passes.mode import resolve
from mlc.compiler.text import text
from mlc.frontends.mdl import load
from mlc.frontends.mdl.facts import prune
from tests.backends.control import CONTROL
from tests.compiler.ops.sample import cases, make

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.mdl"))
CASES = cases()
each = pytest.mark.parametrize(("op", "number"), CASES, ids=[f"{op.name}-{i}" for op, i in CASES])


SMALL = {"gpt": {"layers": 1}, "resnet": {"depth": 18}}


def assert_round_trip(graph: Graph) -> str:
    """The text of the graph, which parses to an equal graph, whose text is the same."""
    written = text(graph)
    again = load(written)
    assert difference(graph, again) is None, written
    assert text(again) == written
    return written


@each
def test_samples(op: Op, number: int) -> None:
    graph = make(op, number).graph
    graph.name = "Sample"
    assert_round_trip(graph)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples(path: Path) -> None:
    assert_round_trip(load(path.read_text(), str(path)))


@pytest.mark.parametrize("op", OPS.values(), ids=lambda op: op.name)
def test_bodies_and_gradients(op: Op) -> None:
    graph = make(op, 0).graph
    graph.name = "Sample"
    if op.grad is not None:
        differentiate(graph)
    expand(graph, ())
    assert_round_trip(graph)


def differentiate(graph: Graph) -> None:
    """Appends the gradients of the float outputs by everything that is a float."""
    cotangents = {}
    for name, output in graph.outputs.items():
        if output.type.floating:
            cotangents[name] = Input(f"g_{name}", output.type)
    graph.inputs += cotangents.values()
    wrt = [x for x in (*graph.inputs, *graph.weights.values()) if x.type.floating]
    wrt = [x for x in wrt if x not in cotangents.values()]
    for value, gradient in gradients(graph, cotangents, wrt).items():
        graph.outputs[f"d_{value.name}".replace(".", "_")] = gradient


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_gradients_of_examples(path: Path) -> None:
    graph = load(path.read_text(), str(path), params=SMALL.get(path.stem, {}))
    resolve(graph, training=True)
    for node in graph:
        if "rate" in node.attrs:
            node.attrs["rate"] = 0.0
    differentiate(graph)
    graph.facts = prune(graph.facts)  # as reading does: the reverse mode states some again
    assert_round_trip(graph)


SOURCES = {
    "state": """
model M:
    in  x: f32[B, C = 3]
    in? keep: bool[B] = true
    in? scale: f32[] = -0.5
    out y: f32[B, 3]
    out seen: f32[]
    state count: f32[] = zeros
    y = where(keep[:, none], x, scale) -> batch_norm -> batch_norm(affine = false)
    seen = count
    count := count + 1
""",
    "facts": """
model M(heads = 4):
    in  x: f32[B, T <= 64, D]
    in  z: f32[B, U, E]
    out y: f32[B, heads, T, D / heads]
    out w: f32[B, T // 2, 2, D]
    require U < T and D % (2 * heads) == 0
    y = x -> reshape(B, T, heads, D // heads) -> transpose(0, 2, 1, 3)
    w = (x[:, :T // 2 * 2] -> reshape(B, T // 2, 2, D)) + mean(reshape(z, B, -1, 2, E))
""",
    "held": """
block Twice(width):
    in  x: f32[B, D]
    out y: f32[B, D]
    layer = linear(width)
    norm = batch_norm()
    y = x -> layer -> norm -> relu -> layer -> norm
    param scale: f32[width] = constant(0.5)
    y = y * scale + (layer.weight -> sum)
model M:
    in  x: f32[B, 4]
    out y: f32[B, 4]
    out again: f32[B, 4]
    out same: f32[B, 4]
    twice = Twice(4)
    y = x -> twice -> twice -> dropout(0.25)
    again = y
    same = x
""",
}


@pytest.mark.parametrize("name", SOURCES)
def test_sources(name: str) -> None:
    graph = load(SOURCES[name])
    assert_round_trip(graph)


@pytest.mark.parametrize("name", CONTROL)
def test_blocks_and_their_gradients(name: str) -> None:
    graph = load(CONTROL[name])
    assert_round_trip(graph)
    if name != "until":
        differentiate(graph)
        graph.facts = prune(graph.facts)
        assert_round_trip(graph)


class Random:
    """A graph that is shape-correct by construction, from random choices."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.graph = Graph("Random", Scope("model"))
        self.b = Build(self.graph)
        sizes = [symbol("B"), symbol("T"), 1, 2, 3, 6]
        shapes = [[self.random.choice(sizes) for _ in range(n)] for n in (1, 3, 0)]
        shapes.append(sizes[:2])
        self.graph.inputs = [
            Input(f"x{i}", Type("f32", tuple(shape))) for i, shape in enumerate(shapes)
        ]
        self.values: list[Value] = list(self.graph.inputs)
        self.depth = 0
        for _ in range(self.random.randint(1, 12)):
            self.step()
        self.graph.outputs = {f"y{i}": v for i, v in enumerate(self.values[-2:])}

    def blocks(self) -> None:
        """A node whose blocks hold nodes, perhaps with blocks; names may be anything."""
        names = [self.random.choice(["h", "x 1", "B", "block", "7", ""]) + str(i) for i in range(3)]
        given = [self.random.choice(self.values) for _ in names]
        match self.random.choice(["scan", "while", "if"]):
            case "scan" if given[1].type.rank:
                axis = self.random.randrange(3)
                types = [given[0].type, element(given[1].type, axis), given[2].type]
                blocks = [self.block(names, types, [given[0].type], 2)]
                attrs = {"carried": 1, "scanned": 1, "axis": axis,
                         "reverse": self.random.random() < 0.5}  # fmt: skip
                op = SCAN
            case "if":
                given = [self.b(OPS["greater"], self.b(OPS["sum"], given[0]), 0.0), *given]
                types = [x.type for x in given[1:]]
                blocks = [self.block(names, types, [types[0], types[2]]) for _ in range(2)]
                op, attrs = IF, {}
            case _:
                types = [x.type for x in given]
                blocks = [self.block(names, types, (Type("bool", ()),)),
                          self.block(names, types, types[:2])]  # fmt: skip
                op, attrs = WHILE, {"carried": 2, "bound": self.random.choice([None, 3])}
        self.values += self.b.node(op, given, attrs, blocks=blocks).outputs

    def block(
        self, names: Sequence[str], types: Sequence[Type], results: Sequence[Type], more: int = 0
    ) -> Graph:
        """A block that gives results of these types, and so many more of any."""
        outside = self.b, self.values, self.depth
        graph = Graph(self.graph.name, self.graph.root)
        graph.inputs = [Input(name, type) for name, type in zip(names, types, strict=True)]
        self.b, self.values, self.depth = Build(graph), list(graph.inputs), self.depth + 1
        for _ in range(self.random.randint(0, 3)):
            self.step()
        made = [self.result(type) for type in results]
        made += [self.random.choice(self.values) for _ in range(more)]
        graph.outputs = {self.random.choice(["", "y.", "h[]"]) + str(i): v
                         for i, v in enumerate(made)}  # fmt: skip
        self.b, self.values, self.depth = outside
        return graph

    def result(self, type: Type) -> Value:
        """A value of this type: one that is there, or a constant."""
        alike = [v for v in self.values if (v.type.dtype, v.type.shape) == (type.dtype, type.shape)]
        if alike:
            return self.random.choice(alike)
        number = self.b.constant(0.5)
        made = self.b(OPS["expand"], number, shape=type.shape) if type.rank else number
        return self.b(OPS["greater"], made, 0.0) if type.dtype == "bool" else made

    def step(self) -> None:
        """One more node, or a few, on a value that is there."""
        if self.random.random() < 0.2 / (1 + self.depth):
            return self.blocks()
        x = self.random.choice(self.values)
        axis = self.random.randrange(x.type.rank) if x.type.rank else None
        size = x.type.shape[axis] if axis is not None else 1
        choices: list[Any] = [
            lambda: self.b(OPS[self.random.choice(["relu", "tanh", "neg", "square"])], x),
            lambda: self.b(ADD, x, self.random.choice([2, -0.5, 1e-7, float("inf")])),
            lambda: self.b(ADD, x, self.b.constant(symbol("T") * 2 - 1)),
            lambda: self.b(OPS["clamp"], x, min=self.random.random()),
            lambda: self.b(OPS["where"], self.b(OPS["greater"], x, 0.0), x, 0.0),
            lambda: self.b(OPS["unsqueeze"], x, axes=(self.random.choice([0, -1]),)),
            lambda: self.b(OPS["mul"], x, 3.0 if self.depth else self.weight(())),
        ]
        if axis is not None:
            choices += [
                lambda: self.b(OPS["sum"], x, axes=(axis,), keep=self.random.random() < 0.5),
                lambda: self.b(OPS["concat"], x, x, axis=axis),
                lambda: self.b(OPS["split"], self.b(OPS["concat"], x, x, axis=axis),
                               parts=2, axis=axis)[1],
                lambda: self.b(OPS["slice"], x, starts=(0,), ends=(size,), axes=(axis,)),
                lambda: self.b(OPS["pad"], x, pads=((1, size),) * x.type.rank),
                lambda: self.b(OPS["reshape"], x, shape=(-1,)),
                lambda: self.b(OPS["flip"], x, axes=(axis,)),
                lambda: self.b(OPS["softmax"], x, axis=axis),
            ]  # fmt: skip
        if x.type.rank > 1:
            features, inputs = 4, x.type.shape[-1]
            choices.append(lambda: self.b(OPS["transpose"], x))
            if isinstance(inputs, int) and not self.depth:
                weight = self.weight((features, inputs))
                choices.append(
                    lambda: self.b(OPS["linear"], x, weight, features=features, bias=False)
                )
        self.values.append(self.random.choice(choices)())

    def weight(self, shape: tuple[int, ...]) -> Weight:
        path = f"part.{len(self.graph.weights)}.weight"
        self.graph.weights[path] = Weight(
            path, Type("f32", shape), Init("normal", (self.random.random(),)),
            trainable=self.random.random() < 0.7, scope=self.graph.root, part="weight",
        )  # fmt: skip
        return self.graph.weights[path]


@settings(max_examples=60, deadline=None, database=None)
@given(st.integers(0, 2**32))
def test_random_graphs(seed: int) -> None:
    assert_round_trip(Random(seed).graph)


def test_a_mode_is_written_and_not_compiled() -> None:
    graph = load(SOURCES["held"])
    resolve(graph, training=False)
    assert "rate = 0.25, training = false)" in assert_round_trip(graph)
    with pytest.raises(MlcError, match="fixed to inference, and emitted code leaves the mode open"):
        compile(graph, "pytorch")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("y = linear(x, weight = w, features = 3)", ""),
        ("y = linear(x, weight = w, bias = false, features = 3)", ""),
        ("y = x -> linear(3, weight = w)", ""),
        ("y = linear(x, weight = nowhere, features = 3)", "nowhere is not known here"),
        ("y = linear(x, weight = 3, features = 3)", "takes a weight of shape"),
        ("y = linear(x, bias = s, features = 3)", "linear is given bias, and needs weight too"),
        ("y = linear(x, weight = w)", "linear needs features"),
        ("y = linear(weight = w, features = 3)", "linear needs x"),
        ("y = linear(x, weight = w, weight = w, features = 3)", "weight is given twice"),
        ("y = relu(x, weight = w)", "relu has no argument weight"),
        ("s := sum(w, 0) if inference", "not `if inference`"),
        ("w := x", "w is a param"),
        ("y = constant([[1, 2], [3]])", "lists of one length"),
    ],
)
def test_weights_by_keyword(line: str, message: str) -> None:
    source = f"""
model M:
    in  x: f32[B, 3]
    out y: f32[B, 3]
    param w: f32[3, 3] = normal(0.5) as "some.path"
    state s: f32[3] = zeros
    y = x
    {line}
"""
    if message:
        with pytest.raises(MlcError, match=message):
            load(source)
        return
    graph = load(source)
    assert list(graph.weights) == ["some.path", "s"]
    assert next(node for node in graph if node.op.name == "linear").layer is None
    assert_round_trip(graph)


def test_text_reads_as_a_model() -> None:
    assert assert_round_trip(load(SOURCES["state"])) == STATE_TEXT


STATE_TEXT = """\
model M:
    in  x: f32[B, C = 3]
    in? keep: bool[B] = true
    in? scale: f32[] = -0.5
    out y: f32[B, 3]
    out seen: f32[]
    state count: f32[] = zeros
    param batch_norm1_weight: f32[3] = ones as "batch_norm1.weight"
    param batch_norm1_bias: f32[3] = zeros as "batch_norm1.bias"
    state batch_norm1_running_mean: f32[3] = zeros as "batch_norm1.running_mean"
    state batch_norm1_running_var: f32[3] = ones as "batch_norm1.running_var"
    state batch_norm2_running_mean: f32[3] = zeros as "batch_norm2.running_mean"
    state batch_norm2_running_var: f32[3] = ones as "batch_norm2.running_var"

    unsqueeze = unsqueeze(keep, axes = [1])
    where = where(unsqueeze, x, scale)
    batch_norm1, batch_norm1_2, batch_norm1_3 = batch_norm(
        where, weight = batch_norm1_weight, bias = batch_norm1_bias,
        running_mean = batch_norm1_running_mean, running_var = batch_norm1_running_var
    )
    y, batch_norm2, batch_norm2_2 = batch_norm(
        batch_norm1, running_mean = batch_norm2_running_mean, running_var = batch_norm2_running_var,
        affine = false
    )
    constant = constant(value = 1)
    add = count + constant
    seen = count
    batch_norm1_running_mean := batch_norm1_2 if training
    batch_norm1_running_var := batch_norm1_3 if training
    batch_norm2_running_mean := batch_norm2 if training
    batch_norm2_running_var := batch_norm2_2 if training
    count := add
"""


def test_names_become_identifiers_of_their_own() -> None:
    root = Scope("model")
    graph = Graph("Odd", root)
    graph.inputs = [Input("x", Type("f32", (symbol("B"), 3)))]
    weight = Weight(
        'a."b"\n\\c', Type("f32", (3,)), Init("uniform", (-0.5, 1e-7)), trainable=True, scope=root,
        part="b",
    )  # fmt: skip
    graph.weights[weight.path] = weight
    b = Build(graph)
    y: Any = graph.inputs[0]
    for name in ("B", "in", "2 x", "min", "x", "y", "training", "x", "inf", "a__b___c", "relu"):
        y = b(ADD, y, weight)
        y.name = name
    graph.outputs = {"y": b(RELU, y)}
    assert_round_trip(graph)


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (lambda g: setattr(g.inputs[0], "default", 1.0), "default"),
        (lambda g: setattr(g.inputs[0], "type", Type("f32", (2, 4))), "input x"),
        (lambda g: setattr(g.inputs[0], "name", "z"), "input"),
        (lambda g: g.inputs.pop(), "number of inputs"),
        (lambda g: setattr(next(iter(g.weights.values())), "trainable", True), "trainable"),
        (lambda g: setattr(next(iter(g.weights.values())), "init", Init("ones")), "start"),
        (lambda g: g.weights.popitem(), "weights"),
        (lambda g: g.updates.popitem(), "updates"),
        (lambda g: g.facts.append(Fact("<", symbol("B"), 8)), "facts"),
        (lambda g: g.outputs.update(y=g.inputs[0]), "output y"),
        (lambda g: g.outputs.update(z=g.inputs[0]), "outputs"),
        (lambda g: _first(g, "constant").attrs.update(value=3), "value of node"),
        (lambda g: Build(g)(RELU, g.inputs[0]), "number of nodes"),
        (lambda g: _swap(g), "takes other values"),
        (lambda g: setattr(g, "name", "Other"), "name"),
    ],
)
def test_differences_are_named(change: Any, where: str) -> None:
    graph, other = load(SOURCES["state"]), load(SOURCES["state"])
    assert equal(graph, other)
    change(other)
    assert where in (difference(graph, other) or "")
    assert not equal(graph, other)


def _first(graph: Graph, op: str) -> Node:
    return next(node for node in graph if node.op.name == op)


def _swap(graph: Graph) -> None:
    node = _first(graph, "add")
    node.set_inputs(node.inputs[::-1])


def test_what_has_no_text_is_refused() -> None:
    graph = Graph("Large", Scope("model"))
    graph.outputs = {"y": Build(graph).constant(np.zeros(20_001, np.float32))}
    with pytest.raises(MlcError, match="20001 elements has no text"):
        text(graph)


def test_blocks_are_written_as_deep_as_they_are_read() -> None:
    assert_round_trip(scans(25))
    with pytest.raises(MlcError, match="blocks within more than 25 others have no text"):
        text(scans(26))


def scans(depth: int) -> Graph:
    """Scans within scans."""
    graph = Graph("Deep", Scope("model"))
    graph.inputs = [Input("x", Type("f32", (3,))), Input("row", Type("f32", ()))]
    x = graph.inputs[0]
    graph.outputs = {"y": x}
    if depth:
        attrs = {"carried": 1, "scanned": 1, "axis": 0, "reverse": False}
        node = Build(graph).node(SCAN, (x, x), attrs, blocks=(scans(depth - 1),))
        graph.outputs = {"y": node.outputs[0]}
    return graph
