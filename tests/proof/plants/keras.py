"""Faults in emitted Keras source."""

from __future__ import annotations

from tests.proof.plants.plant import Plant

_IMPORTS = """
import keras
from keras.ops import stop_gradient as hold
"""


def _calls(helper: str, *names: str) -> Plant:
    """`planted`, which the helper defines, wherever one of these is named."""
    return Plant(dict.fromkeys(names, "planted"), _IMPORTS + helper)


def _edit(pattern: str, replacement: str, helper: str = "") -> Plant:
    return Plant({pattern: replacement}, _IMPORTS + helper)


def _layers(bodies: dict[str, str]) -> Plant:
    """Subclasses of layers in their places."""
    helper = "".join(f"\nclass Planted{b}(keras.layers.{b}):\n{body}" for b, body in bodies.items())
    return Plant({f"keras.layers.{b}": f"Planted{b}" for b in bodies}, _IMPORTS + helper)


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


def _dense(weight: str, bias: str) -> Plant:
    """Dense layers of another kernel `w` and bias `b`."""
    return _layers(
        {
            "Dense": f"""
    def call(self, x, training=None):
        w, b = self.kernel, 0.0 if self.bias is None else keras.ops.convert_to_tensor(self.bias)
        return keras.ops.matmul(x, {weight}) + {bias}
"""
        }
    )


def _result(change: str) -> Plant:
    """Dense layers and convolutions with another result `y`."""
    body = f"""
    def call(self, x, **options):
        y = super().call(x)
        return {change}
"""
    return _layers({"Dense": body, "Conv2D": body})


def _attention(change: str) -> Plant:
    """Attention of other queries `q`, keys `k` and values `v`."""
    return _layers(
        {
            "MultiHeadAttention": f"""
    def _compute_attention(self, q, k, v, *args, **options):
        {change}
        return super()._compute_attention(q, k, v, *args, **options)
"""
        }
    )


def _statistics(centred: str, factor: str) -> Plant:
    """Layer norm, and batch norm in training, with other statistics."""
    return _layers(
        {
            "LayerNormalization": f"""
    def call(self, x):
        m = keras.ops.mean(x, -1, keepdims=True)
        v = keras.ops.mean(keras.ops.square(x - m), -1, keepdims=True)
        n, eps = x.shape[-1], self.epsilon
        return {centred} * {factor} * self.gamma + self.beta
""",
            "BatchNormalization": f"""
    def call(self, x, training=None):
        y = super().call(x, training=training)
        if not training:
            return y
        axes = tuple(range(len(x.shape) - 1))
        m = keras.ops.mean(x, axes, keepdims=True)
        v = keras.ops.mean(keras.ops.square(x - m), axes, keepdims=True)
        n, eps = keras.ops.cast(keras.ops.size(x) // x.shape[-1], x.dtype), self.epsilon
        return {centred} * {factor} * self.gamma + self.beta
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
    made = all(isinstance(v, keras.KerasTensor) for v in (a, b))
    return {both} if made and a.shape == b.shape else a + b
""",
    )


def _output(change: str) -> Plant:
    """Another result `y` of the whole model."""
    return _edit(
        "keras.Model(_inputs, _outputs, **_rest)",
        "keras.Model(_inputs, planted(_outputs), **_rest)",
        f"""
def planted(outputs):
    changed = lambda y: {change} if len(y.shape) and "float" in y.dtype else y
    if isinstance(outputs, dict):
        return {{name: changed(y) for name, y in outputs.items()}}
    several = isinstance(outputs, (list, tuple))
    return [changed(y) for y in outputs] if several else changed(outputs)
""",
    )


_SELF = "\n    def call(self, x, training=None):\n        return x\n"

KERAS: dict[str, Plant] = {
    "the other GELU": _edit("keras.ops.gelu(_x, approximate=False)", "keras.ops.gelu(_x)"),
    "slope of leaky relu": _edit("keras.ops.leaky_relu(_x, _s)", "keras.ops.leaky_relu(_x, 0.2)"),
    "relu6 for relu": Plant({"keras.ops.relu": "keras.ops.relu6",
                             "keras.layers.ReLU()": "keras.layers.ReLU(6.0)"}),
    "hard swish for silu": _edit("keras.ops.silu", "keras.ops.hard_silu"),
    "hard sigmoid for sigmoid": _edit("keras.ops.sigmoid", "keras.ops.hard_sigmoid"),
    "activation left out": Plant({
        **dict.fromkeys(("keras.ops.relu", "keras.ops.gelu", "keras.ops.silu", "keras.ops.sigmoid",
                         "keras.ops.tanh"), "planted"),
        "keras.layers.ReLU()": "planted",
    }, "\ndef planted(x, **options):\n    return x\n"),
    "causal mask dropped": _edit("_f(_x, _y, use_causal_mask=True, **_rest)",
                                 "_f(_x, _y, **_rest)"),
    "mask dropped": _edit("_f(*_args, attention_mask=_m, **_rest)", "_f(*_args, **_rest)"),
    "mask inverted": _edit("_f(*_args, attention_mask=_m, **_rest)",
                           "_f(*_args, attention_mask=keras.ops.logical_not(_m), **_rest)"),
    "scale of attention 1 % off": _attention("q = q * 1.01"),
    "queries and keys exchanged": _attention("q, k = k, q"),
    "softmax over another axis": _edit("keras.ops.softmax(_x, axis=1)",
                                       "keras.ops.softmax(_x, axis=2)"),
    "positions one further on": _edit("self.position[:_n]", "self.position[1 : _n + 1]"),
    "indices that count from one": _layers(dict.fromkeys(("Embedding", "ReversibleEmbedding"), """
    def call(self, x, *args, **options):
        plain = "int" in str(x.dtype)
        return super().call(keras.ops.maximum(x - 1, 0) if plain else x, *args, **options)
""")),
    "padding on the other side": _layers({"ZeroPadding2D": """
    def __init__(self, padding, **options):
        pads = [padding] * 2 if isinstance(padding, int) else padding
        pads = [(p, p) if isinstance(p, int) else p for p in pads]
        super().__init__([(0, low + high) for low, high in pads], **options)
"""}),
    "average for max pool": _layers({"MaxPooling2D": """
    def call(self, x):
        return keras.ops.average_pool(x, self.pool_size, self.strides, self.padding)
"""}),
    "nearest and linear resize": Plant({
        "keras.layers.UpSampling2D(_n)": "keras.layers.UpSampling2D(_n, interpolation='bilinear')",
        "keras.layers.UpSampling2D(_n, interpolation='bilinear')": "keras.layers.UpSampling2D(_n)",
    }),
    "layer left out": _layers(dict.fromkeys(
        ("LayerNormalization", "BatchNormalization", "GroupNormalization"), _SELF)),
    "residual left out": _sum("b + 0 * a"),
    "operands exchanged": Plant(
        {"_a - _b": "planted(_a, _b, 0)", "_a / _b": "planted(_a, _b, 1)"}, _IMPORTS + """
def planted(a, b, divides):
    if not all(isinstance(v, (int, float)) for v in (a, b)):
        a, b = b, a
    return a / b if divides else a - b
"""),
    "concatenated backwards": Plant({
        "keras.layers.Concatenate(*_args, **_rest)(_xs)":
            "keras.layers.Concatenate(*_args, **_rest)(list(_xs)[::-1])",
        "keras.ops.concatenate(_xs, *_args, **_rest)":
            "keras.ops.concatenate(list(_xs)[::-1], *_args, **_rest)",
    }),
    "flattened channels last": _calls("""
def planted(*args, **options):
    def call(x):
        order = (0, *range(2, len(x.shape)), 1)
        x = keras.ops.transpose(x, order) if len(x.shape) > 2 else x
        return keras.layers.Flatten(*args, **options)(x)
    return call
""", "keras.layers.Flatten"),
    "batch in another order": _output("keras.ops.flip(y, 0)"),
    "sum for mean": _layers({"GlobalAveragePooling2D": """
    def call(self, x):
        return keras.ops.sum(x, (1, 2), keepdims=self.keepdims)
"""}),
    "variance with n - 1": _edit("keras.ops.var(_x, axis=_a, **_rest)",
                                 "planted(_x, _a, **_rest)", """
def planted(x, axis, **options):
    n = x.shape[axis]
    return keras.ops.var(x, axis=axis, **options) * (n / (n - 1))
"""),
    "products in bf16": _result("keras.ops.cast(keras.ops.cast(y, 'bfloat16'), y.dtype)"),
    "products in f16": _result("keras.ops.cast(keras.ops.cast(y, 'float16'), y.dtype)"),
    "eps of layer norm": _attribute("LayerNormalization", "epsilon", "1.2 * v"),
    "eps of batch norm": _attribute("BatchNormalization", "epsilon", "1.2 * v"),
    "eps of group norm": _attribute("GroupNormalization", "epsilon", "1.2 * v"),
    "eps of rms norm": _attribute("RMSNormalization", "epsilon", "1.2 * v"),
    "eps outside of the root": _statistics("(x - m)", "(1 / (keras.ops.sqrt(v) + eps))"),
    "normalised with n - 1": _statistics("(x - m)", "keras.ops.rsqrt(v * n / (n - 1) + eps)"),
    "normalised without the mean": _statistics("x", "keras.ops.rsqrt(v + eps)"),
    "statistics held constant": _statistics("(x - hold(m))", "hold(keras.ops.rsqrt(v + eps))"),
    "groups of group norm": _layers({"GroupNormalization": """
    def __init__(self, groups, **options):
        super().__init__(1 if groups > 1 else 2, **options)
"""}),
    "momentum 10 % off": _attribute("BatchNormalization", "momentum", "1 - 1.1 * (1 - v)"),
    "momentum the other way": _attribute("BatchNormalization", "momentum", "1 - v"),
    "statistics frozen": _layers({"BatchNormalization": """
    def call(self, x, training=None):
        return super().call(x, training=False)
"""}),
    "statistics of the batch in inference": _layers({"BatchNormalization": """
    def call(self, x, training=None):
        if training:
            return super().call(x, training=True)
        axes = tuple(range(len(x.shape) - 1))
        m, v = keras.ops.moments(x, axes)
        return keras.ops.batch_normalization(x, m, v, -1, self.beta, self.gamma, self.epsilon)
"""}),
    "running statistics not updated": _layers({"BatchNormalization": """
    def call(self, x, training=None):
        if not training:
            return super().call(x, training=False)
        axes = tuple(range(len(x.shape) - 1))
        m, v = keras.ops.moments(x, axes)
        return keras.ops.batch_normalization(x, m, v, -1, self.beta, self.gamma, self.epsilon)
"""}),
    "bias dropped": _dense("w", "0"),
    "gradient of a shared weight cut": _layers({"ReversibleEmbedding": """
    def call(self, x, reverse=False):
        if not reverse:
            return super().call(x)
        return keras.ops.matmul(x, keras.ops.transpose(hold(self.embeddings)))
"""}),
    "gradient of a residual cut": _sum("hold(a) + b"),
    "gradient by a weight missing": _dense("hold(w)", "b"),
    "gradient by a bias missing": _dense("w", "hold(b)"),
    "gradient by a bias doubled": _dense("w", "2 * b - hold(b)"),
    "gradient 0.1 % too large": _result("y + 0.001 * (y - hold(y))"),
    "gradient past a kink": Plant(
        {"keras.ops.relu": "planted", "keras.layers.ReLU()": "planted"}, _IMPORTS + """
def planted(x):
    return x + hold(keras.ops.relu(x) - x)
"""),
    "gradient of a sum for a mean": _layers({"GlobalAveragePooling2D": """
    def call(self, x):
        s = keras.ops.sum(x, (1, 2), keepdims=self.keepdims)
        return s + hold(super().call(x) - s)
"""}),
    "gradient of softmax without its sum": _function(
        "hold(keras.ops.softmax(x, *args, **options)) * keras.ops.exp(x - hold(x))",
        "keras.ops.softmax"),
    "gradient of the other GELU": _function(
        "(t := keras.ops.gelu(x)) + hold(keras.ops.gelu(x, approximate=False) - t)",
        "keras.ops.gelu"),
}  # fmt: skip
"""Fault -> the edit that plants it."""
