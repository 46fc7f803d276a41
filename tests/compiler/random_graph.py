"""Random graphs that are correct by construction, for property tests."""

from __future__ import annotations

from hypothesis import strategies as st

from mlc.compiler.dim import symbol
from mlc.compiler.graph import Definition, Scope
from mlc.compiler.op import Build
from mlc.compiler.ops import OPS
from tests.compiler.build import start, weight

B = symbol("B")
SMOOTH = ("neg", "tanh", "sigmoid", "gelu", "silu", "sin", "softplus", "square", "identity", "atan")
BINARY = ("add", "sub", "mul")
REDUCE = ("sum", "mean", "logsumexp")


def _unary(draw, b, x):
    return b(OPS[draw(st.sampled_from(SMOOTH))], x)


def _binary(draw, b, x, *others):
    alike = [y for y in others if y.type.shape == x.type.shape] + [1.0, 0.0, -0.0, 0.5]
    other = draw(st.sampled_from(alike))
    return b(OPS[draw(st.sampled_from(BINARY))], x, other)


def _divide(draw, b, x):
    return b(OPS["div"], x, draw(st.sampled_from((1.0, 2.0))))


def _reduce(draw, b, x):
    axis = draw(st.integers(0, x.type.rank - 1))
    y = b(OPS[draw(st.sampled_from(REDUCE))], x, axes=(axis,), keep=True)
    return b(OPS["add"], x, y) if draw(st.booleans()) else b(OPS["expand"], y, shape=x.type.shape)


def _softmax(draw, b, x):
    axis = draw(st.integers(0, x.type.rank - 1))
    return b(OPS[draw(st.sampled_from(("softmax", "log_softmax", "cumsum")))], x, axis=axis)


def _transpose(draw, b, x):
    return b(OPS["transpose"], x, axes=tuple(draw(st.permutations(range(x.type.rank)))))


def _reshape(draw, b, x):
    shape = x.type.shape
    flat = b(OPS["reshape"], x, shape=(-1,))
    return b(OPS["reshape"], flat, shape=draw(st.sampled_from((shape, shape[::-1]))))


def _move(draw, b, x):
    axis = draw(st.integers(0, x.type.rank - 1))
    whole = ((0, 0),) * x.type.rank
    padded = (*whole[:axis], (draw(st.integers(0, 1)), 1), *whole[axis + 1 :])
    y = b(OPS["pad"], x, pads=padded)
    low = draw(st.integers(0, 1))
    size = x.type.shape[axis]
    return b(OPS["slice"], y, starts=(low,), ends=(low + size,), axes=(axis,))


def _cast(draw, b, x):
    there = b(OPS["cast"], x, dtype=draw(st.sampled_from(("f32", "f64"))))
    return b(OPS["cast"], there, dtype="f32")


def _choose(draw, b, x, *others):
    y = draw(st.sampled_from([y for y in others if y.type.shape == x.type.shape] + [x]))
    return b(OPS["where"], b(OPS["less"], b(OPS["stop_gradient"], x), 0.1), x, y)


def _linear(draw, b, x):
    w = next(w for w in b.graph.weights.values() if w.type.shape == (3, 3))
    if x.type.rank < 2 or x.type.shape[-1] != 3:
        return b(OPS["neg"], x)
    if draw(st.booleans()):
        return b(OPS["linear"], x, w, None, features=3, bias=False)
    return b(OPS["matmul"], x, w)


def _norm(draw, b, x):
    axis = x.type.rank - 1
    return b(OPS["layer_norm"], x, None, None, axes=(axis,), eps=0.1, affine=False)


def _join(draw, b, x):
    axis = draw(st.integers(0, x.type.rank - 1))
    if not isinstance(x.type.shape[axis], int):
        return b(OPS["square"], x)
    halves = b(OPS["split"], b(OPS["concat"], x, x, axis=axis), parts=2, axis=axis)
    return halves[draw(st.integers(0, 1))]


STEPS = (
    _unary, _binary, _divide, _reduce, _softmax, _transpose, _reshape, _move, _cast, _linear,
    _norm, _join, _choose,
)  # fmt: skip
MANY = (_binary, _choose)


@st.composite
def graphs(draw, most=10, instances=True):
    """A graph on x: f32[B, 3] and z: f32[2, 3], weights, and one or two outputs.

    With `instances`, a part of it may be the calls of one block.
    """
    graph, b, x, z = start(x=("B", 3), z=(2, 3))
    pool = [x, z, weight(graph, "w", (3, 3)), weight(graph, "v", (3,))]
    for _ in range(draw(st.integers(1, most))):
        pool.append(_step(draw, b, pool))
    if instances and draw(st.booleans()):
        pool.append(_calls(draw, graph, pool[-1]))
    graph.outputs["y"] = pool[-1]
    graph.outputs["z"] = draw(st.sampled_from(pool[2:]))
    return graph


def _step(draw, b, pool):
    step = draw(st.sampled_from(STEPS))
    x = draw(st.sampled_from(pool[-3:] + pool[:2]))
    return step(draw, b, x, *pool) if step in MANY else step(draw, b, x)


def _calls(draw, graph, x):
    """Some calls of a block of a few steps, which are the same in all of them."""
    definition = Definition("Block", inputs=("x",), outputs=("y",))
    steps = draw(st.lists(st.sampled_from(("neg", "atan", "identity", "square")), max_size=4))
    for i in range(draw(st.integers(1, 3))):
        b = Build(graph, Scope("block", definition, graph.root, f"b{i}", f"b{i}", site=i), site=1)
        side = x = b(OPS["tanh"], x)
        for step in steps:
            side = b(OPS[step], side)
        x = b(OPS["mul"], x, draw(st.sampled_from((1.0, 0.5))))
        if draw(st.booleans()):
            x = b(OPS["add"], x, b(OPS["sigmoid"], side))
    return x
