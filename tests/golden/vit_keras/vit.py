"""ViT: the vision transformer (Dosovitskiy et al. 2020): an image as a sentence of patches.

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
layer_norm = partial(keras.layers.LayerNormalization, epsilon=1e-6)
linear = partial(keras.layers.Dense, kernel_initializer=fan_uniform)


def uniform(fan: float) -> keras.initializers.Initializer:
    """Draws from -b to b, where b = 1 / sqrt(fan)."""
    return keras.initializers.RandomUniform(-(fan**-0.5), fan**-0.5)


def layer(
    x: keras.KerasTensor, heads: int, hidden: int, drop: float, *, name: str
) -> keras.KerasTensor:
    """Pre-norm transformer layer: (B, T, D) -> (B, T, D)."""
    D = x.shape[-1]
    h = layer_norm(name=f"{name}_layer_norm1")(x)
    h = keras.layers.MultiHeadAttention(
        heads,
        D // heads,
        kernel_initializer=uniform(D),
        bias_initializer=uniform(D),
        name=f"{name}_attention",
    )(h, h)
    h = x + keras.layers.Dropout(drop, name=f"{name}_dropout1")(h)
    h2 = layer_norm(name=f"{name}_layer_norm2")(h)
    h2 = linear(hidden, bias_initializer=uniform(D), name=f"{name}_linear1")(h2)
    h2 = keras.ops.gelu(h2, approximate=False)
    h2 = keras.layers.Dropout(drop, name=f"{name}_dropout2")(h2)
    h2 = linear(D, bias_initializer=uniform(hidden), name=f"{name}_linear2")(h2)
    return h + keras.layers.Dropout(drop, name=f"{name}_dropout3")(h2)


@keras.saving.register_keras_serializable(package="vit")
class Start(keras.layers.Layer):
    """Holds start, position.

    tokens (B, (size // patch) * (size // patch), D) -> h (B, (size // patch) * (size // patch)
    + 1, D).
    """

    def __init__(self, patch: int, size: int, **kwargs):
        super().__init__(**kwargs)
        self.patch = patch
        self.size = size

    def build(self, input_shape):
        self.start = self.add_weight(
            shape=(1, 1, input_shape[-1]), initializer="zeros", name="start"
        )
        self.position = self.add_weight(
            shape=(1, self.size // self.patch * (self.size // self.patch) + 1, input_shape[-1]),
            initializer=keras.initializers.RandomNormal(stddev=0.02),
            name="position",
        )

    def call(self, tokens):
        h = keras.ops.repeat(self.start, keras.ops.shape(tokens)[0], axis=0)
        return keras.ops.concatenate([h, tokens], axis=1) + self.position

    def compute_output_shape(self, input_shape):
        return (
            input_shape[0],
            self.size // self.patch * (self.size // self.patch) + 1,
            input_shape[-1],
        )

    def get_config(self):
        return {**super().get_config(), "patch": self.patch, "size": self.size}


def vit(
    size: int = 224,
    patch: int = 16,
    D: int = 768,
    layers: int = 12,
    heads: int = 12,
    classes: int = 1000,
    drop: float = 0.0,
) -> keras.Model:
    """Image (B, size, size, 3) -> logits (B, classes)."""
    image = keras.Input((size, size, 3), name="image")
    if size % patch != 0:
        raise ValueError(f"patches of {patch} do not fill {size}")
    tokens = keras.layers.Conv2D(
        D,
        patch,
        strides=patch,
        kernel_initializer=fan_uniform,
        bias_initializer=uniform(3 * patch * patch),
        name="conv",
    )(image)
    tokens = keras.layers.Reshape((-1, D))(tokens)
    h = Start(patch, size, name="start")(tokens)
    for i in range(layers):
        h = layer(h, heads, 4 * D, drop, name=f"layers_{i}")
    h = layer_norm(name="layer_norm")(h)
    h = h[:, 0]
    logits = linear(classes, bias_initializer=uniform(D), name="linear")(h)
    return keras.Model(image, logits, name="vit")


def build(weights: str | Path | None = None, **config: float | int) -> keras.Model:
    """Return the model, with the weights of a safetensors file if one is given."""
    model = vit(**config)
    if weights is not None:
        tensors = load_file(weights)
        if wrong := tensors.keys() ^ {variable.path for variable in model.weights}:
            raise ValueError(f"{weights} does not fit the model: {sorted(wrong)}")
        for variable in model.weights:
            variable.assign(tensors[variable.path])
    return model
