"""Faults in emitted OpenVINO source: in the model itself, and in those with its gradients."""

from __future__ import annotations

from tests.proof.plants.plant import Plant

_IMPORTS = """
import openvino as ov
from openvino import opset16 as ops

def number(value):
    return ops.constant(value, ov.Type.f32)
"""


def _calls(helper: str, *names: str) -> Plant:
    """`planted`, which the helper defines, wherever one of these is named."""
    return Plant(dict.fromkeys(names, "planted"), _IMPORTS + helper)


def _edit(pattern: str, replacement: str, helper: str = "") -> Plant:
    return Plant({pattern: replacement}, _IMPORTS + helper)


def _function(result: str, *names: str) -> Plant:
    return _calls(f"\ndef planted(x, *args, **options):\n    return {result}\n", *names)


def _output(change: str) -> Plant:
    """Another result `y` of the whole model."""
    return _edit(
        "ov.Model(_ys, *_args)",
        "ov.Model([planted(y) for y in _ys], *_args)",
        f"""
def planted(y):
    y = y if isinstance(y, ov.Output) else y.output(0)
    plain = len(y.get_partial_shape()) == 0 or y.get_element_type() != ov.Type.f32
    return y if plain else ({change}).output(0)
""",
    )


def _rounded(dtype: str) -> Plant:
    return Plant(
        {name: f"planted({name})" for name in ("ops.matmul", "ops.convolution")},
        _IMPORTS
        + f"""
def planted(op):
    return lambda *args, **options: ops.convert(
        ops.convert(op(*args, **options), ov.Type.{dtype}), ov.Type.f32)
""",
    )


_SDPA = "ops.scaled_dot_product_attention"
_MASKED = f"{_SDPA}(_q, _k, _v, _m, **_rest)"

OPENVINO: dict[str, Plant] = {
    "the other GELU": _edit("ops.gelu(_x, 'erf')", "ops.gelu(_x, 'tanh')"),
    "relu6 for relu": _function("ops.clamp(x, 0.0, 6.0)", "ops.relu"),
    "hard swish for silu": _function("ops.hswish(x)", "ops.swish"),
    "hard sigmoid for sigmoid": _function(
        "ops.hard_sigmoid(x, number(1 / 6), number(0.5))", "ops.sigmoid"),
    "activation left out": _function(
        "x", "ops.relu", "ops.gelu", "ops.swish", "ops.sigmoid", "ops.tanh"),
    "causal mask dropped": _edit(f"{_SDPA}(*_args, causal=True)", f"{_SDPA}(*_args, causal=False)"),
    "causal where it is not": _edit(f"{_SDPA}(_q, _k, _v, causal=False)",
                                    f"{_SDPA}(_q, _k, _v, causal=True)"),
    "mask dropped": _edit(_MASKED, f"{_SDPA}(_q, _k, _v, **_rest)"),
    "mask inverted": _edit(_MASKED, f"{_SDPA}(_q, _k, _v, ops.logical_not(_m), **_rest)"),
    "scale of attention 1 % off": _edit(f"{_SDPA}(_q, *_args, **_rest)",
        f"{_SDPA}(ops.multiply(_q, number(1.01)), *_args, **_rest)"),
    "number of heads": _edit("ops.reshape(_x, [0, 0, heads, -1], **_rest)",
                             "ops.reshape(_x, [0, 0, 1, -1], **_rest)"),
    "queries and keys exchanged": _edit(f"{_SDPA}(_q, _k, *_args, **_rest)",
                                        f"{_SDPA}(_k, _q, *_args, **_rest)"),
    "softmax over another axis": _edit("ops.softmax(_x, 1)", "ops.softmax(_x, 2)"),
    "indices that count from one": _edit("ops.gather(self.constant(_n), _i, 0)",
                                         "planted(self.constant(_n), _i)", """
def planted(w, i):
    kind = i.get_element_type()
    zero, one = ops.constant(0, kind), ops.constant(1, kind)
    return ops.gather(w, ops.maximum(ops.subtract(i, one), zero), 0)
"""),
    "padding on the other side": Plant({
        f"ops.{name}(_x, _w, _s, {pads}, *_args, **_rest)":
            f"ops.{name}(_x, _w, _s, *planted({given}), *_args, **_rest)"
        for name in ("convolution", "group_convolution")
        for pads, given in (("_low, _high", "*zip(_low, _high, strict=True)"),
                            ("*zip(*_pads, strict=True)", "*_pads"))
    }, """
def planted(*pads):
    return [0] * len(pads), [low + high for low, high in pads]
"""),
    "average pool and its padding": _edit("ops.avg_pool(*_args, exclude_pad=True, **_rest)",
                                          "ops.avg_pool(*_args, exclude_pad=False, **_rest)"),
    "layer left out": Plant({
        "ops.batch_norm_inference(_x, *_args, **_rest)": "planted(_x, *_args, **_rest)",
        "ops.mvn(_x, *_args, **_rest)": "_x",
    }, "\ndef planted(x, gamma, beta, mean, variance, *args, **options):\n    return x\n"),
    "residual left out": _calls("""
def planted(a, b, **options):
    if not all(isinstance(v, (ov.Node, ov.Output)) for v in (a, b)):
        return ops.add(a, b, **options)
    ports = [v if isinstance(v, ov.Output) else v.output(0) for v in (a, b)]
    constant = any(v.get_node().get_type_name() == "Constant" for v in ports)
    same = str(ports[0].get_partial_shape()) == str(ports[1].get_partial_shape())
    return b if same and not constant else ops.add(a, b, **options)
""", "ops.add"),
    "operands exchanged": Plant({
        "ops.subtract(_a, _b, **_rest)": "ops.subtract(_b, _a, **_rest)",
        "ops.divide(_a, _b, **_rest)": "ops.divide(_b, _a, **_rest)",
    }),
    "concatenated backwards": _edit("ops.concat(_xs, *_args, **_rest)",
                                    "ops.concat(planted(_xs), *_args, **_rest)", """
def planted(xs):
    nodes = [x for x in xs if isinstance(x, (ov.Node, ov.Output))]
    ports = [x if isinstance(x, ov.Output) else x.output(0) for x in nodes]
    floats = ports and all(port.get_element_type() == ov.Type.f32 for port in ports)
    return list(xs)[::-1] if floats else xs
"""),
    "batch in another order": _output("ops.slice(y, [-1], [-(2**31) + 1], [-1], [0])"),
    "last example of a batch": _output(
        "ops.concat([ops.slice(y, [0], [-1], [1], [0]), ops.slice(y, [-2], [-1], [1], [0])], 0)"),
    "sum for mean": _edit("ops.reduce_mean", "ops.reduce_sum"),
    "products in bf16": _rounded("bf16"),
    "eps of layer norm": _edit("ops.mvn(*_args, eps=_e, **_rest)",
                               "ops.mvn(*_args, eps=1.2 * _e, **_rest)"),
    "eps of batch norm": _edit("ops.batch_norm_inference(_x, _g, _b, _m, _v, _e, **_rest)",
                               "ops.batch_norm_inference(_x, _g, _b, _m, _v, 1.2 * _e, **_rest)"),
    "eps of group norm": _edit("ops.group_normalization(_x, _g, _b, _n, _e, **_rest)",
                               "ops.group_normalization(_x, _g, _b, _n, 1.2 * _e, **_rest)"),
    "eps outside of the root": _edit("ops.mvn(*_args, eps_mode='inside_sqrt', **_rest)",
                                     "ops.mvn(*_args, eps_mode='outside_sqrt', **_rest)"),
    "normalised without the mean": _edit("ops.mvn(_x, _axes, **_rest)",
                                         "planted(_x, _axes, **_rest)",
        """
def planted(x, axes, **options):
    mean = ops.reduce_mean(x, axes, keep_dims=True)
    square = ops.reduce_mean(ops.power(ops.subtract(x, mean), number(2.0)), axes, keep_dims=True)
    return ops.divide(x, ops.sqrt(ops.add(square, number(options["eps"]))))
"""),
    "gain and bias exchanged": _edit("ops.batch_norm_inference(_x, _g, _b, *_args, **_rest)",
                                     "ops.batch_norm_inference(_x, _b, _g, *_args, **_rest)"),
    "groups of group norm": _edit("ops.group_normalization(_x, _g, _b, _n, *_args, **_rest)",
                                  "ops.group_normalization(_x, _g, _b, 1, *_args, **_rest)"),
}  # fmt: skip
"""Fault -> the edit that plants it."""
