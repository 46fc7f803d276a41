"""The faults: for each, the model that has a place for it, and what is planted in each target.

They are small on purpose, where a fault has a size: an eps of 1.2e-5 in place of 1e-5, a scale that
is 1 % off, a momentum of 0.11 in place of 0.1.
"""

from __future__ import annotations

from dataclasses import dataclass

GPT, RESNET, MNIST, SHARES = "gpt", "tiny_resnet", "mnist", "shares"

OWN = {
    SHARES: """
# The mean of all places, for each of some heads, weighted by shares that sum to 1 over the places.
model Shares(heads = 6):
    in  x: f32[B, T, 12]
    out y: f32[B, heads, 12]
    share = x -> linear(heads) -> softmax(T)
    y = transpose(share) @ x
"""
}
"""Models that no example has the construct of."""


@dataclass(frozen=True)
class Plant:
    """An edit of the source: see `plant`."""

    pattern: str
    replacement: str
    helper: str = ""


@dataclass(frozen=True)
class Fault:
    """`mode` is where it shows; `plants` has the targets that have a place for it."""

    model: str
    mode: str
    plants: dict[str, Plant]

    @property
    def modes(self) -> dict[str, list[str]]:
        """Mode -> the targets that are run in it: OpenVINO has inference only."""
        found: dict[str, list[str]] = {}
        for target in self.plants:
            found.setdefault(self.mode if target != "openvino" else "inference", []).append(target)
        return found


def _loaded(line: str) -> dict[str, Plant]:
    """A change of the tensors that the emitted loader reads, the same in every target."""
    helper = f"import math\n\ndef planted(tensors):\n    {line}\n    return tensors\n"
    edit = Plant("load_file(weights)", "planted(load_file(weights))", helper)
    return dict.fromkeys(("pytorch", "keras", "jax", "openvino"), edit)


def _changed(name: str, size: int, change: str) -> str:
    """A line that changes the tensor `w` of this size whose key holds the name."""
    wanted = f"{name!r} in k and math.prod(w.shape) == {size}"
    return f"tensors |= {{k: {change} for k, w in tensors.items() if {wanted}}}"


_KERAS_BIAS = """
class Unbiased(keras.layers.Dense):
    def call(self, inputs, training=None):
        return keras.ops.matmul(inputs, self.kernel)
"""
_KERAS_SCALE = """
class Scaled(keras.layers.MultiHeadAttention):
    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self._inverse_sqrt_key_dim *= 1.01
"""
_KERAS_FROZEN = """
class Frozen(keras.layers.BatchNormalization):
    def call(self, inputs, training=None):
        return super().call(inputs, training=False)
"""
_JAX_SCALE = """
def planted(query, key, value, **options):
    return nnx.dot_product_attention(query * 1.01, key, value, **options)
"""
_KERAS_UNTIED = """
class Untied(keras.layers.ReversibleEmbedding):
    def call(self, inputs, reverse=False):
        if not reverse:
            return super().call(inputs)
        held = keras.ops.stop_gradient(self.embeddings)
        return keras.ops.matmul(inputs, keras.ops.transpose(held))
"""
_TORCH_SDPA = "F.scaled_dot_product_attention(_q, _k, _v, is_causal=True)"
_TRANSPOSED = "(w.reshape(24, 24).T.reshape(-1) + 0).reshape(w.shape)"


def element(by: float) -> dict[str, Plant]:
    """One element of MNIST's first weight, of 100,352 whose deviation is 1/28, moved by `by`."""
    one = "(w == w.reshape(-1)[50_000]) + w * 0"
    return _loaded(_changed("linear1", 100_352, f"w + (w * 0 + {by}) * ({one})"))


FAULTS: dict[str, Fault] = {
    "tanh GELU": Fault(GPT, "inference", {
        "pytorch": Plant("F.gelu(_x)", "F.gelu(_x, approximate='tanh')"),
        "keras": Plant("keras.ops.gelu(_x, approximate=False)", "keras.ops.gelu(_x)"),
        "jax": Plant("nnx.gelu(_x, approximate=False)", "nnx.gelu(_x)"),
        "openvino": Plant("ops.gelu(_x, 'erf')", "ops.gelu(_x, 'tanh')"),
    }),
    "causal dropped": Fault(GPT, "inference", {
        "pytorch": Plant(_TORCH_SDPA, "F.scaled_dot_product_attention(_q, _k, _v)"),
        "keras": Plant("_layer(_x, _y, use_causal_mask=True)", "_layer(_x, _y)"),
        "jax": Plant("_layer(_x, is_causal=True)", "_layer(_x)"),
        "openvino": Plant("_f(_q, _k, _v, causal=True)", "_f(_q, _k, _v, causal=False)"),
    }),
    "eps of layer norm": Fault(GPT, "inference", {
        "pytorch": Plant("nn.LayerNorm(_n, eps=1e-5)", "nn.LayerNorm(_n, eps=1.2e-5)"),
        "keras": Plant("partial(keras.layers.LayerNormalization, epsilon=1e-5)",
                       "partial(keras.layers.LayerNormalization, epsilon=1.2e-5)"),
        "jax": Plant("partial(nnx.LayerNorm, epsilon=1e-5, **_rest)",
                     "partial(nnx.LayerNorm, epsilon=1.2e-5, **_rest)"),
        "openvino": Plant("ops.mvn(*_args, eps=1e-5, **_rest)",
                          "ops.mvn(*_args, eps=1.2e-5, **_rest)"),
    }),
    "eps of batch norm": Fault(RESNET, "training", {
        "pytorch": Plant("nn.BatchNorm2d(_n, eps=1e-5, **_rest)",
                         "nn.BatchNorm2d(_n, eps=1.2e-5, **_rest)"),
        "keras": Plant("partial(keras.layers.BatchNormalization, epsilon=1e-5, **_rest)",
                       "partial(keras.layers.BatchNormalization, epsilon=1.2e-5, **_rest)"),
        "jax": Plant("batch_norm(16, **_rest)", "batch_norm(16, epsilon=1.2e-5, **_rest)"),
        "openvino": Plant("_f(_x, _g, _b, _m, _v, 1e-5, **_rest)",
                          "_f(_x, _g, _b, _m, _v, 1.2e-5, **_rest)"),
    }),
    "pad side": Fault(RESNET, "training", {
        "pytorch": Plant("nn.Conv2d(C, width, 3, stride=stride, padding=1, bias=False)",
                         "Padded(C, width, 3, stride=stride, bias=False)",
                         "class Padded(nn.Conv2d):\n"
                         "    def forward(self, x):\n"
                         "        return super().forward(nn.functional.pad(x, (0, 2, 0, 2)))\n"),
        "keras": Plant("keras.layers.ZeroPadding2D(1)",
                       "keras.layers.ZeroPadding2D(((0, 2), (0, 2)))"),
        "jax": Plant("conv(C, width, (3, 3), stride, padding=1, **_rest)",
                     "conv(C, width, (3, 3), stride, padding=((0, 2), (0, 2)), **_rest)"),
        "openvino": Plant("ops.convolution(_x, _w, _s, [pad] * 2, [pad] * 2, *_more, **_rest)",
                          "ops.convolution(_x, _w, _s, [0] * 2, [2 * pad] * 2, *_more, **_rest)"),
    }),
    "square weight transposed": Fault(
        GPT, "inference", _loaded(_changed("value", 576, _TRANSPOSED))
    ),
    "bias dropped": Fault(GPT, "inference", {
        "pytorch": Plant("self.linear2(_x)", "F.linear(_x, self.linear2.weight)"),
        "keras": Plant("linear(D, **_rest)", "Unbiased(D, **_rest)", _KERAS_BIAS),
        "jax": Plant("self.linear2(_x)", "_x @ self.linear2.kernel[...]"),
        "openvino": Plant("self.linear(_x, f'{name}.linear2')",
                          "ops.subtract(self.linear(_x, f'{name}.linear2'), "
                          "self.constant(f'{name}.linear2.bias'))"),
    }),
    "scale": Fault(GPT, "inference", {
        "pytorch": Plant(_TORCH_SDPA,
                         "F.scaled_dot_product_attention(_q * 1.01, _k, _v, is_causal=True)"),
        "keras": Plant("keras.layers.MultiHeadAttention(*_args, **_rest)",
                       "Scaled(*_args, **_rest)", _KERAS_SCALE),
        "jax": Plant("nnx.MultiHeadAttention(*_args, **_rest)",
                     "nnx.MultiHeadAttention(*_args, attention_fn=planted, **_rest)", _JAX_SCALE),
        "openvino": Plant("_f(_q, _k, _v, causal=True)",
                          "_f(ops.multiply(_q, ops.constant(1.01, ov.Type.f32)), _k, _v, "
                          "causal=True)"),
    }),
    "softmax axis": Fault(SHARES, "inference", {
        "pytorch": Plant("F.softmax(_x, dim=1)", "F.softmax(_x, dim=2)"),
        "keras": Plant("keras.ops.softmax(_x, axis=1)", "keras.ops.softmax(_x, axis=2)"),
        "jax": Plant("nnx.softmax(_x, axis=1)", "nnx.softmax(_x, axis=2)"),
        "openvino": Plant("ops.softmax(_x, 1)", "ops.softmax(_x, 2)"),
    }),
    "batch-norm statistics frozen": Fault(RESNET, "training", {
        "pytorch": Plant("self.batch_norm(_x)", "self.batch_norm.eval()(_x)"),
        "keras": Plant("batch_norm(name='batch_norm')",
                       "Frozen(epsilon=1e-5, name='batch_norm')", _KERAS_FROZEN),
        "jax": Plant("self.batch_norm(_x)", "self.batch_norm(_x, use_running_average=True)"),
    }),
    "momentum": Fault(RESNET, "training", {
        "pytorch": Plant("nn.BatchNorm2d(16, momentum=0.1, **_rest)",
                         "nn.BatchNorm2d(16, momentum=0.11, **_rest)"),
        "keras": Plant("partial(keras.layers.BatchNormalization, momentum=0.9, **_rest)",
                       "partial(keras.layers.BatchNormalization, momentum=0.89, **_rest)"),
        "jax": Plant("batch_norm(16, **_rest)", "batch_norm(16, momentum=0.89, **_rest)"),
    }),
    "untied gradient": Fault(GPT, "inference", {
        "pytorch": Plant("F.linear(_x, self.token.weight)",
                         "F.linear(_x, self.token.weight.detach())"),
        "keras": Plant("keras.layers.ReversibleEmbedding(*_args, **_rest)",
                       "Untied(*_args, **_rest)", _KERAS_UNTIED),
        "jax": Plant("self.token.attend(_x)",
                     "_x @ jax.lax.stop_gradient(self.token.embedding[...]).T"),
    }),
    "one wrong element in 1e5": Fault(MNIST, "inference", element(1e-3)),
}  # fmt: skip
"""The twelve, the eps of both norms apart."""
