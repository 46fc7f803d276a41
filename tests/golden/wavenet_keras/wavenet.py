"""WaveNet (van den Oord et al. 2016): of each sample of sound, its class by those before.

Verified with keras 3.15.1 and tensorflow-cpu 2.21.0.
"""

from functools import partial
from pathlib import Path

import keras
from safetensors.numpy import load_file

# A configuration, of which each layer makes an initializer of its own: one that layers share would
# draw the same numbers for all of them.
fan_uniform = keras.initializers.serialize(
    keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform")
)
conv = partial(keras.layers.Conv1D, kernel_initializer=fan_uniform)


def uniform(fan: float) -> keras.initializers.Initializer:
    """Draws from -b to b, where b = 1 / sqrt(fan)."""
    return keras.initializers.RandomUniform(-(fan**-0.5), fan**-0.5)


def gated(
    x: keras.KerasTensor, dilation: int, *, name: str
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """A causal convolution with holes, half of which gates the other half.

    x (B, L, C) -> y (B, L, C), skip (B, L, C).
    """
    C = x.shape[-1]
    h = keras.layers.ZeroPadding1D((dilation, 0))(x)
    h = conv(
        2 * C, 2, dilation_rate=dilation, bias_initializer=uniform(2 * C), name=f"{name}_conv"
    )(h)
    content, gate = keras.ops.split(h, 2, axis=2)
    h = keras.ops.tanh(content) * keras.ops.sigmoid(gate)
    skip = conv(C, 1, bias_initializer=uniform(C), name=f"{name}_skip")(h)
    h = conv(C, 1, bias_initializer=uniform(C), name=f"{name}_mix")(h)
    return x + h, skip


def wavenet(classes: int = 256, width: int = 64, layers: int = 30, cycle: int = 10) -> keras.Model:
    """Sound (B, L) -> logits (B, L, classes)."""
    sound = keras.Input((None,), dtype="int32", name="sound")
    h = keras.layers.Embedding(
        classes,
        width,
        embeddings_initializer=keras.initializers.RandomNormal(stddev=1),
        name="embedding",
    )(sound)
    skips = []
    for i in range(layers):
        h, skip = gated(h, 2 ** (i % cycle), name=f"layers_{i}")
        skips.append(skip)
    h2 = keras.ops.stack(skips)
    h = keras.layers.ReLU()(h + keras.ops.sum(h2, axis=0))
    h = conv(width, 1, bias_initializer=uniform(width), name="conv1")(h)
    h = keras.layers.ReLU()(h)
    logits = conv(classes, 1, bias_initializer=uniform(width), name="conv2")(h)
    return keras.Model(sound, logits, name="wavenet")


def build(weights: str | Path | None = None, **config: int) -> keras.Model:
    """Return the model, with the weights of a safetensors file if one is given."""
    model = wavenet(**config)
    if weights is not None:
        tensors = load_file(weights)
        if wrong := tensors.keys() ^ {variable.path for variable in model.weights}:
            raise ValueError(f"{weights} does not fit the model: {sorted(wrong)}")
        for variable in model.weights:
            variable.assign(tensors[variable.path])
    return model
