"""Faults in emitted Flax NNX source."""

from __future__ import annotations

from tests.proof.plants.plant import Plant

_IMPORTS = """
import jax
import jax.numpy as jnp
from flax import nnx
from jax.lax import stop_gradient as hold
"""


def _calls(helper: str, *names: str) -> Plant:
    """`planted`, which the helper defines, wherever one of these is named."""
    return Plant(dict.fromkeys(names, "planted"), _IMPORTS + helper)


def _edit(pattern: str, replacement: str, helper: str = "") -> Plant:
    return Plant({pattern: replacement}, _IMPORTS + helper)


def _layers(bodies: dict[str, str]) -> Plant:
    """Subclasses of layers in their places."""
    helper = "".join(f"\nclass Planted{b}(nnx.{b}):\n{body}" for b, body in bodies.items())
    return Plant({f"nnx.{b}": f"Planted{b}" for b in bodies}, _IMPORTS + helper)


def _attribute(base: str, name: str, change: str) -> Plant:
    """An attribute of a layer, changed when it is made: `v` is what it was."""
    return _layers(
        {
            base: f"""
    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        v = self.{name}
        self.{name} = {change}
"""
        }
    )


def _function(result: str, *names: str) -> Plant:
    return _calls(f"\ndef planted(x, *args, **options):\n    return {result}\n", *names)


def _linear(result: str) -> Plant:
    """Linear layers with another result of `x`, the kernel `w` and the bias `b` (0 if none)."""
    return _layers(
        {
            "Linear": f"""
    def __call__(self, x):
        w, b = self.kernel[...], 0.0 if self.bias is None else self.bias[...]
        return {result}
"""
        }
    )


def _biased(result: str) -> Plant:
    """Linear layers and convolutions with another result of `y` and the bias `b`."""
    body = f"""
    def __call__(self, x):
        y, b = super().__call__(x), 0.0 if self.bias is None else self.bias[...]
        return {result}
"""
    return _layers({"Linear": body, "Conv": body})


def _attention(change: str) -> Plant:
    """Attention of other queries `q`, keys `k` and values `v`, by a function of its own too."""
    return _calls(
        f"""
def planted(*args, attention_fn=nnx.dot_product_attention, **options):
    def attend(q, k, v, *more, **given):
        {change}
        return attention_fn(q, k, v, *more, **given)
    return nnx.MultiHeadAttention(*args, attention_fn=attend, **options)
""",
        "nnx.MultiHeadAttention",
    )


def _statistics(centred: str, factor: str) -> Plant:
    """Layer norm, and batch norm in training, with other statistics."""
    return _layers(
        {
            "LayerNorm": f"""
    def __call__(self, x):
        m = x.mean(-1, keepdims=True)
        v = jnp.square(x - m).mean(-1, keepdims=True)
        n, eps = x.shape[-1], self.epsilon
        return {centred} * {factor} * self.scale[...] + self.bias[...]
""",
            "BatchNorm": f"""
    def __call__(self, x):
        y = super().__call__(x)
        if self.use_running_average:
            return y
        axes = tuple(range(x.ndim - 1))
        m = x.mean(axes, keepdims=True)
        v = jnp.square(x - m).mean(axes, keepdims=True)
        n, eps = x.size // x.shape[-1], self.epsilon
        return {centred} * {factor} * self.scale[...] + self.bias[...]
""",
        }
    )


def _sum(both: str) -> Plant:
    """Sums of two results of one shape."""
    return _edit(
        "_a + _b",
        "planted(_a, _b)",
        f"""
def planted(a, b):
    made = all(isinstance(v, jax.Array) for v in (a, b))
    return {both} if made and a.shape == b.shape else a + b
""",
    )


def _means(result: str) -> Plant:
    """Other means of arrays; a layer may be called so too."""
    return _edit(
        "_x.mean(*_args, **_rest)",
        "planted(_x, *_args, **_rest)",
        f"""
def planted(x, *args, **options):
    return {result} if isinstance(x, jax.Array) else x.mean(*args, **options)
""",
    )


def _output(change: str) -> Plant:
    """Another result `y` of the whole model."""
    return _edit(
        "nnx.eval_shape(_make)",
        "planted(nnx.eval_shape(_make))",
        f"""
def planted(model):
    plain = type(model)
    changed = lambda y: {change} if y.ndim and y.dtype.kind == "f" else y
    def call(self, *args, **options):
        return jax.tree.map(changed, plain.__call__(self, *args, **options))
    model.__class__ = type("Planted", (plain,), {{"__call__": call}})
    return model
""",
    )


_SELF = "\n    def __call__(self, x):\n        return x\n"

JAX: dict[str, Plant] = {
    "the other GELU": _edit("nnx.gelu(_x, approximate=False)", "nnx.gelu(_x)"),
    "slope of leaky relu": _edit("nnx.leaky_relu(_x, *_args)", "nnx.leaky_relu(_x, 0.2)"),
    "relu6 for relu": _edit("nnx.relu", "nnx.relu6"),
    "hard swish for silu": _edit("nnx.silu", "nnx.hard_swish"),
    "hard sigmoid for sigmoid": _edit("nnx.sigmoid", "nnx.hard_sigmoid"),
    "activation left out": _function(
        "x", "nnx.relu", "nnx.gelu", "nnx.silu", "nnx.sigmoid", "nnx.tanh"
    ),
    "causal mask dropped": _edit("_f(_x, is_causal=True, **_rest)", "_f(_x, **_rest)"),
    "mask dropped": _edit("_f(*_args, mask=_m)", "_f(*_args, mask=jnp.ones_like(_m))"),
    "mask inverted": _edit("_f(*_args, mask=_m)", "_f(*_args, mask=~_m)"),
    "scale of attention 1 % off": _attention("q = q * 1.01"),
    "queries and keys exchanged": _attention("q, k = k, q"),
    "softmax over another axis": _edit("nnx.softmax(_x, axis=1)", "nnx.softmax(_x, axis=2)"),
    "positions one further on": _edit("self.position[:_n]", "self.position[1 : _n + 1]"),
    "indices that count from one": _layers({"Embed": """
    def __call__(self, x):
        return super().__call__(jnp.maximum(x - 1, 0))
"""}),
    "padding on the other side": _layers({"Conv": """
    def __init__(self, inputs, outputs, kernel_size, *args, padding="SAME", **options):
        pads = [padding] * len(kernel_size) if isinstance(padding, int) else padding
        if not isinstance(pads, str):
            pads = [p if isinstance(p, tuple) else (p, p) for p in pads]
            pads = [(0, low + high) for low, high in pads]
        super().__init__(inputs, outputs, kernel_size, *args, padding=pads, **options)
"""}),
    "max pool padded with zeros": _edit(
        "nnx.max_pool(_x, *_args, padding=_p, **_rest)",
        "planted(_x, *_args, padding=_p, **_rest)",
        """
def planted(x, *args, padding, **options):
    return nnx.max_pool(jnp.pad(x, ((0, 0), *padding, (0, 0))), *args, **options)
""",
    ),
    "average pool and its padding": _edit(
        "nnx.avg_pool(*_args, padding=_p, count_include_pad=False, **_rest)",
        "nnx.avg_pool(*_args, padding=_p, **_rest)",
    ),
    "nearest and linear resize": _calls(
        """
def planted(x, shape, method, **options):
    return jax.image.resize(x, shape, "nearest" if method != "nearest" else "linear", **options)
""",
        "jax.image.resize",
    ),
    "average for max pool": _calls("""
def planted(x, *args, **options):
    return nnx.avg_pool(x, *args, count_include_pad=False, **options)
""", "nnx.max_pool"),
    "layer left out": _layers(dict.fromkeys(("LayerNorm", "BatchNorm", "GroupNorm"), _SELF)),
    "residual left out": _sum("b"),
    "operands exchanged": Plant(
        {"_a - _b": "planted(_a, _b, 0)", "_a / _b": "planted(_a, _b, 1)"}, _IMPORTS + """
def planted(a, b, divides):
    if isinstance(a, jax.Array) or isinstance(b, jax.Array):
        a, b = b, a
    return a / b if divides else a - b
"""),
    "concatenated backwards": _calls("""
def planted(xs, *args, **options):
    return jnp.concatenate(list(xs)[::-1], *args, **options)
""", "jnp.concatenate"),
    "second operand transposed": _edit("_a @ _b", "planted(_a, _b)", """
def planted(a, b):
    return a @ (jnp.swapaxes(b, -1, -2) if b.shape[-1] == b.shape[-2] else b)
"""),
    "batch in another order": _output("y[::-1]"),
    "last example of a batch": _output("jnp.concatenate([y[:-1], y[-2:-1]])"),
    "sum for mean": _means("x.sum(*args, **options)"),
    "variance with n - 1": _edit(
        "_x.var(*_args, **_rest)", "_x.var(*_args, ddof=1, **_rest)"
    ),
    "products in bf16": _biased("y.astype(jnp.bfloat16).astype(y.dtype)"),
    "products in f16": _biased("y.astype(jnp.float16).astype(y.dtype)"),
    "eps of layer norm": _attribute("LayerNorm", "epsilon", "1.2 * v"),
    "eps of batch norm": _attribute("BatchNorm", "epsilon", "1.2 * v"),
    "eps of group norm": _attribute("GroupNorm", "epsilon", "1.2 * v"),
    "eps of rms norm": _attribute("RMSNorm", "epsilon", "1.2 * v"),
    "eps outside of the root": _statistics("(x - m)", "1 / (jnp.sqrt(v) + eps)"),
    "normalised with n - 1": _statistics("(x - m)", "jax.lax.rsqrt(v * n / max(n - 1, 1) + eps)"),
    "normalised without the mean": _statistics("x", "jax.lax.rsqrt(v + eps)"),
    "statistics held constant": _statistics("(x - hold(m))", "hold(jax.lax.rsqrt(v + eps))"),
    "momentum 10 % off": _attribute("BatchNorm", "momentum", "1 - 1.1 * (1 - v)"),
    "momentum the other way": _attribute("BatchNorm", "momentum", "1 - v"),
    "statistics frozen": _layers({"BatchNorm": """
    def __call__(self, x):
        return super().__call__(x, use_running_average=True)
"""}),
    "statistics of the batch in inference": _layers({"BatchNorm": """
    def __call__(self, x):
        kept = self.mean[...], self.var[...]
        y = super().__call__(x, use_running_average=False)
        if self.use_running_average:
            self.mean[...], self.var[...] = kept
        return y
"""}),
    "running statistics not updated": _layers({"BatchNorm": """
    def __call__(self, x):
        kept = self.mean[...], self.var[...]
        y = super().__call__(x)
        self.mean[...], self.var[...] = kept
        return y
"""}),
    "bias dropped": _biased("y - b"),
    "gradient of a shared weight cut": _edit("self.token.attend(_x)",
                                             "_x @ hold(self.token.embedding[...]).T"),
    "gradient of a residual cut": _sum("hold(a) + b"),
    "gradient by a weight missing": _linear("x @ hold(w) + b"),
    "gradient by a bias missing": _biased("y - b + hold(b)"),
    "gradient by a bias doubled": _biased("y + b - hold(b)"),
    "gradient 0.1 % too large": _biased("y + 0.001 * (y - hold(y))"),
    "gradient past a kink": _function("x + hold(nnx.relu(x) - x)", "nnx.relu"),
    "gradient of a sum for a mean": _means(
        "(s := x.sum(*args, **options)) + hold(x.mean(*args, **options) - s)"),
    "gradient of softmax without its sum": _function(
        "hold(nnx.softmax(x, *args, **options)) * jnp.exp(x - hold(x))", "nnx.softmax"),
    "gradient of the other GELU": _function(
        "(t := nnx.gelu(x)) + hold(nnx.gelu(x, approximate=False) - t)", "nnx.gelu"),
}  # fmt: skip
"""Fault -> the edit that plants it."""
