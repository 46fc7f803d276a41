"""What frameworks define differently: probes, each a call in the framework itself.

`python -m tests.backends.differently TARGET` prints what the probes of a target give, as JSON. What
they show is the table of docs/differently.md, which a test compares.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

Call: TypeAlias = Callable[[Any], Any]
NAN = float("nan")
F32, I32, U8 = np.float32, np.int32, np.uint8

TARGETS = ("language", "pytorch", "keras", "jax", "openvino", "onnx")
"""The columns; the language is what the reference computes."""


def f(*numbers: float) -> Any:
    return np.array(numbers, F32)


def text(found: Any) -> str:
    """A result as the table shows it."""
    numbers = np.asarray(found).reshape(-1).tolist()
    shown = (f"{x:.3g}" if isinstance(x, float) else str(x) for x in numbers)
    return ", ".join(shown)


# -------------------------------------------------------------------- one call in each framework


def in_language(op: str, *arrays: Any, **attrs: Any) -> Any:
    from mlc.compiler.op import complete
    from mlc.compiler.ops import OPS

    record = OPS[op]
    slots = len(record.inputs) + len(record.weights)
    padded = (*arrays, *[None] * (slots - len(arrays)))
    with np.errstate(all="ignore"):
        return record.eval(*padded, **complete(record, attrs))


def in_openvino(op: str, *arrays: Any, **options: Any) -> Any:
    import openvino as ov
    from openvino import opset16 as ops

    given = [ops.parameter(x.shape, ov.Type(x.dtype)) for x in arrays]
    made = getattr(ops, op)(*given, **options)
    model = ov.Model([made.output(made.get_output_size() - 1)], given)
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return compiled(list(arrays))[0]


def in_onnx(op: str, *arrays: Any, out: int = 0, **attrs: Any) -> Any:
    import onnxruntime
    from onnx import helper

    names = [f"x{i}" for i in range(len(arrays))]
    results = [f"y{i}" for i in range(out + 1)]
    inputs = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
        for n, x in zip(names, arrays, strict=True)
    ]
    node = helper.make_node(op, names, results, **attrs)
    output = helper.make_empty_tensor_value_info(results[-1])
    graph = helper.make_graph([node], "probe", inputs, [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(results[-1:], dict(zip(names, arrays, strict=True)))[0]


def in_pytorch(call: Call) -> Any:
    import torch

    return call(torch)


def in_jax(call: Call) -> Any:
    import jax

    return call(jax)


def in_keras(call: Call) -> Any:
    import keras

    return call(keras)


def slope(call: Callable[..., Any], *at: float) -> dict[str, Callable[[], Any]]:
    """The gradient of the first element by a vector, in the frameworks that have their own: `call`
    gets the framework's name and module, and the vector."""

    def pytorch() -> Any:
        import torch

        x = torch.tensor(at, requires_grad=True)
        call("pytorch", torch, x).reshape(-1)[0].backward()
        return x.grad

    def jax_() -> Any:
        import jax

        return jax.grad(lambda x: call("jax", jax, x).reshape(-1)[0])(jax.numpy.array(at))

    def keras_() -> Any:
        import keras
        import tensorflow as tf

        x = tf.constant(at)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tf.reshape(call("keras", keras, x), [-1])[0]
        return tape.gradient(y, x)

    return {"pytorch": pytorch, "jax": jax_, "keras": keras_}


def language_slope(op: str, *at: float, **attrs: Any) -> Callable[[], Any]:
    """The gradient that the language's rule gives there; ONNX and OpenVINO are given it, too."""

    def probe() -> Any:
        from mlc.compiler.graph import Graph, Input, Scope, Type
        from mlc.compiler.op import Build
        from mlc.compiler.ops import OPS
        from mlc.compiler.passes.grad import gradients
        from mlc.compiler.run import run

        graph = Graph("probe", Scope("model"))
        x = Input("x", Type("f32", (len(at),)))
        graph.inputs.append(x)
        b = Build(graph)
        y = b(OPS[op], x, **attrs)
        seed = Input("seed", y.type)
        graph.inputs.append(seed)
        graph.outputs["y"] = y
        graph.outputs["g"] = gradients(graph, {"y": seed}, [x])[x]
        one = np.zeros([int(size) for size in y.type.shape], F32)
        one.reshape(-1)[0] = 1
        return run(graph, {"x": np.array(at, F32), "seed": one}, {}).outputs["g"]

    return probe


# ------------------------------------------------------------------------------------- the rows

ONE, TIES = f(1), f(3, 1, 3)
CLOSED = np.zeros((1, 1, 1, 2), bool)
Q = np.ones((1, 1, 1, 2), F32)
KV = np.array([[[[1, 2], [3, 6]]]], F32)


def _torch_attention(t: Any) -> Any:
    q, k, v = (t.from_numpy(x) for x in (Q, KV, KV))
    return t.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=t.from_numpy(CLOSED))


def _jax_attention(j: Any) -> Any:
    q, kv = Q.swapaxes(1, 2), KV.swapaxes(1, 2)
    return j.nn.dot_product_attention(q, kv, kv, mask=CLOSED)


def _keras_attention(k: Any) -> Any:
    q, kv = Q.swapaxes(1, 2), KV.swapaxes(1, 2)
    return k.ops.dot_product_attention(q, kv, kv, mask=CLOSED)


def _row(op: str, torch_: Call, keras_: Call, jax_: Call, openvino: Any, onnx: Any, *arrays: Any,
         **attrs: Any) -> dict[str, Callable[[], Any]]:  # fmt: skip
    """One row: the language's operator, and a call in each framework; `openvino` and `onnx` are an
    operator's name with its options, or None."""
    row: dict[str, Callable[[], Any]] = {
        "language": lambda: in_language(op, *arrays, **attrs),
        "pytorch": lambda: in_pytorch(torch_),
        "keras": lambda: in_keras(keras_),
        "jax": lambda: in_jax(jax_),
    }
    if openvino is not None:
        row["openvino"] = lambda: in_openvino(openvino[0], *arrays, **openvino[1])
    if onnx is not None:
        row["onnx"] = lambda: in_onnx(onnx[0], *arrays, **onnx[1])
    return row


def _kink(op: str, call: Callable[..., Any], *at: float, **attrs: Any) -> dict[str, Any]:
    return {"language": language_slope(op, *at, **attrs), **slope(call, *at)}


PROBES: Mapping[str, Mapping[str, Callable[[], Any]]] = {
    "relu(NaN)": _row(
        "relu", lambda t: t.relu(t.tensor([NAN])), lambda k: k.ops.relu(f(NAN)),
        lambda j: j.nn.relu(f(NAN)), ("relu", {}), ("Relu", {}), f(NAN)),
    "maximum(NaN, 1)": _row(
        "maximum", lambda t: t.maximum(t.tensor([NAN]), t.tensor([1.0])),
        lambda k: k.ops.maximum(f(NAN), ONE), lambda j: j.numpy.maximum(f(NAN), ONE),
        ("maximum", {}), ("Max", {}), f(NAN), ONE),
    "maximum(1, NaN)": _row(
        "maximum", lambda t: t.maximum(t.tensor([1.0]), t.tensor([NAN])),
        lambda k: k.ops.maximum(ONE, f(NAN)), lambda j: j.numpy.maximum(ONE, f(NAN)),
        ("maximum", {}), ("Max", {}), ONE, f(NAN)),
    "argmax(1, NaN, 2)": _row(
        "argmax", lambda t: t.tensor([1.0, NAN, 2.0]).argmax(),
        lambda k: k.ops.argmax(f(1, NAN, 2)), lambda j: j.numpy.argmax(f(1, NAN, 2)),
        None, ("ArgMax", {"keepdims": 0}), f(1, NAN, 2)),
    "argmax(3, 1, 3)": _row(
        "argmax", lambda t: t.from_numpy(TIES).argmax(), lambda k: k.ops.argmax(TIES),
        lambda j: j.numpy.argmax(TIES), None, ("ArgMax", {"keepdims": 0}), TIES),
    "cast(1e10) to i32": _row(
        "cast", lambda t: t.tensor([1e10]).to(t.int32), lambda k: k.ops.cast(f(1e10), "int32"),
        lambda j: j.numpy.array(f(1e10)).astype("int32"),
        ("convert", {"destination_type": "i32"}), ("Cast", {"to": 6}), f(1e10), dtype="i32"),
    "cast(NaN) to i32": _row(
        "cast", lambda t: t.tensor([NAN]).to(t.int32), lambda k: k.ops.cast(f(NAN), "int32"),
        lambda j: j.numpy.array(f(NAN)).astype("int32"),
        ("convert", {"destination_type": "i32"}), ("Cast", {"to": 6}), f(NAN), dtype="i32"),
    "cast(300) to u8": _row(
        "cast", lambda t: t.tensor([300.0]).to(t.uint8), lambda k: k.ops.cast(f(300), "uint8"),
        lambda j: j.numpy.array(f(300)).astype("uint8"),
        ("convert", {"destination_type": "u8"}), ("Cast", {"to": 2}), f(300), dtype="u8"),
    "-7 / 2 of integers": _row(
        "floor_div", lambda t: t.tensor([-7]) // 2,
        lambda k: k.ops.floor_divide(I32([-7]), I32([2])),
        lambda j: I32([-7]) // j.numpy.array([2]),
        ("divide", {}), ("Div", {}), I32([-7]), I32([2])),
    "remainder of -7 by 2": _row(
        "mod", lambda t: t.tensor([-7]) % 2, lambda k: k.ops.mod(I32([-7]), I32([2])),
        lambda j: I32([-7]) % j.numpy.array([2]), ("mod", {}), ("Mod", {}), I32([-7]), I32([2])),
    "round(0.5, 2.5, -1.5)": _row(
        "round", lambda t: t.tensor([0.5, 2.5, -1.5]).round(),
        lambda k: k.ops.round(f(0.5, 2.5, -1.5)), lambda j: j.lax.round(f(0.5, 2.5, -1.5)),
        ("round", {"mode": "half_to_even"}), ("Round", {}), f(0.5, 2.5, -1.5)),
    "element 5 of 3": _row(
        "gather", lambda t: t.tensor([1.0, 2, 3])[t.tensor([5])],
        lambda k: k.ops.take(f(1, 2, 3), I32([5])), lambda j: j.numpy.take(f(1, 2, 3), I32([5])),
        ("gather", {"axis": 0}), ("Gather", {}), f(1, 2, 3), I32([5])),
    "element -1 of 3": _row(
        "gather", lambda t: t.nn.functional.embedding(t.tensor([-1]), t.tensor([[1.0], [2], [3]])),
        lambda k: k.ops.take(f(1, 2, 3), I32([-1])), lambda j: j.numpy.take(f(1, 2, 3), I32([-1])),
        ("gather", {"axis": 0}), ("Gather", {}), f(1, 2, 3), I32([-1])),
    "sigmoid(-20)": _row(
        "sigmoid", lambda t: t.tensor([-20.0]).sigmoid(), lambda k: k.ops.sigmoid(f(-20)),
        lambda j: j.nn.sigmoid(f(-20)), ("sigmoid", {}), ("Sigmoid", {}), f(-20)),
    "softmax(-inf, -inf)": _row(
        "softmax", lambda t: t.tensor([-np.inf, -np.inf]).softmax(0),
        lambda k: k.ops.softmax(f(-np.inf, -np.inf)), lambda j: j.nn.softmax(f(-np.inf, -np.inf)),
        ("softmax", {"axis": 0}), ("Softmax", {}), f(-np.inf, -np.inf)),
    "attention to nothing": _row(
        "sdpa", _torch_attention, _keras_attention, _jax_attention, None, None,
        Q, KV, KV, CLOSED),
    "slope of relu at 0": _kink("relu", lambda n, m, x: {
        "pytorch": lambda: m.relu(x), "jax": lambda: m.nn.relu(x), "keras": lambda: m.ops.relu(x),
    }[n](), 0.0),
    "slope of leaky relu at 0": _kink("leaky_relu", lambda n, m, x: {
        "pytorch": lambda: m.nn.functional.leaky_relu(x, 0.1),
        "jax": lambda: m.nn.leaky_relu(x, 0.1), "keras": lambda: m.ops.leaky_relu(x, 0.1),
    }[n](), 0.0, slope=0.1),
    "slope of abs at 0": _kink("abs", lambda n, m, x: {
        "pytorch": lambda: x.abs(), "jax": lambda: m.numpy.abs(x), "keras": lambda: m.ops.abs(x),
    }[n](), 0.0),
    "slopes of max(1, 1)": _kink("max", lambda n, m, x: {
        "pytorch": lambda: x.amax(0), "jax": lambda: x.max(), "keras": lambda: m.ops.max(x),
    }[n](), 1.0, 1.0),
    "slope of clamp at its edge": _kink("clamp", lambda n, m, x: {
        "pytorch": lambda: x.clamp(-1, 1), "jax": lambda: m.numpy.clip(x, -1, 1),
        "keras": lambda: m.ops.clip(x, -1.0, 1.0),
    }[n](), 1.0, min=-1.0, max=1.0),
    "slope of relu6 at 6": _kink("relu6", lambda n, m, x: {
        "pytorch": lambda: m.nn.functional.relu6(x), "jax": lambda: m.nn.relu6(x),
        "keras": lambda: m.ops.relu6(x),
    }[n](), 6.0),
    "slope of the norm at 0": _kink("l2_norm", lambda n, m, x: {
        "pytorch": lambda: m.linalg.vector_norm(x), "jax": lambda: m.numpy.linalg.norm(x),
        "keras": lambda: m.ops.norm(x),
    }[n](), 0.0, 0.0),
    "slope of sqrt at 0": _kink("sqrt", lambda n, m, x: {
        "pytorch": lambda: x.sqrt(), "jax": lambda: m.numpy.sqrt(x), "keras": lambda: m.ops.sqrt(x),
    }[n](), 0.0),
}  # fmt: skip
"""What is asked -> column -> the probe; a column that has none is left empty."""


def probe(target: str) -> dict[str, str]:
    """What each probe of a column gives; "raises" where it does."""
    found = {}
    for row, columns in PROBES.items():
        if target in columns:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    result = columns[target]()
                    found[row] = text(result.detach() if hasattr(result, "detach") else result)
                except Exception:
                    found[row] = "raises"
    return found


def table(found: Mapping[str, Mapping[str, str]]) -> str:
    """The table of the page, in Markdown."""
    lines = [f"| | {' | '.join(TARGETS)} |", "|---" * (len(TARGETS) + 1) + "|"]
    for row in PROBES:
        cells = (found[target].get(row, "") for target in TARGETS)
        lines.append(f"| {row} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(json.dumps(probe(sys.argv[1])))
