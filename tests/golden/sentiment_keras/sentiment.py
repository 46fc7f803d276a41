"""Sentiment: what a text is felt to say, by the last states of GRUs that read it from either end.

Verified with keras 3.15.1 and tensorflow-cpu 2.21.0.
"""

from pathlib import Path

import keras
from safetensors.numpy import load_file

# A configuration, of which each layer makes an initializer of its own: one that layers share would
# draw the same numbers for all of them.
fan_uniform = keras.initializers.serialize(
    keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform")
)


def uniform(fan: float) -> keras.initializers.Initializer:
    """Draws from -b to b, where b = 1 / sqrt(fan)."""
    return keras.initializers.RandomUniform(-(fan**-0.5), fan**-0.5)


@keras.saving.register_keras_serializable(package="sentiment")
class GRU(keras.layers.Layer):
    """keras.layers.GRU over x (B, T, C).

    Gives y (B, T, directions * units) and the last h (directions, B, units).
    A row ends at its length: zeros follow, and its states stay.
    """

    def __init__(self, units: int, bidirectional: bool = False, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.bidirectional = bidirectional

    def build(self, x_shape, lengths_shape):
        layer = keras.layers.GRU(
            self.units,
            kernel_initializer=uniform(self.units),
            recurrent_initializer=uniform(self.units),
            bias_initializer=uniform(self.units),
            return_sequences=True,
            return_state=True,
            name="gru" if self.bidirectional else "l0",
        )
        if self.bidirectional:
            layer = keras.layers.Bidirectional(layer, name="l0")
        layer.build(x_shape)
        self.layer = layer

    def call(self, x, lengths):
        mask = keras.ops.arange(keras.ops.shape(x)[1], dtype=lengths.dtype) < lengths[:, None]
        y, *last = self.layer(x, mask=mask)
        y = keras.ops.where(mask[:, :, None], y, 0.0)
        return y, keras.ops.stack(last)

    def compute_output_spec(self, x, lengths):
        y = keras.KerasTensor(
            (*x.shape[:-1], (1 + self.bidirectional) * self.units), dtype=self.compute_dtype
        )
        shape = (1 + self.bidirectional, x.shape[0], self.units)
        return y, keras.KerasTensor(shape, dtype=y.dtype)

    def get_config(self):
        return {**super().get_config(), "units": self.units, "bidirectional": self.bidirectional}


def sentiment(
    vocab: int = 20000, width: int = 128, hidden: int = 128, classes: int = 2, drop: float = 0.5
) -> keras.Model:
    """Words (B, T), lengths (B,) -> logits (B, classes)."""
    words = keras.Input((None,), dtype="int32", name="words")
    lengths = keras.Input((), dtype="int32", name="lengths")
    h = keras.layers.Embedding(
        vocab, width, embeddings_initializer=keras.initializers.RandomNormal(stddev=1), name="word"
    )(words)
    h = keras.layers.Dropout(drop, name="dropout1")(h)
    _, last = GRU(hidden, bidirectional=True, name="gru")(h, lengths=lengths)
    h = keras.layers.Concatenate(axis=1)([last[0], last[1]])
    h = keras.layers.Dropout(drop, name="dropout2")(h)
    logits = keras.layers.Dense(
        classes, kernel_initializer=fan_uniform, bias_initializer=uniform(2 * hidden), name="linear"
    )(h)
    return keras.Model([words, lengths], logits, name="sentiment")


def build(weights: str | Path | None = None, **config: float | int) -> keras.Model:
    """Return the model, with the weights of a safetensors file if one is given."""
    model = sentiment(**config)
    if weights is not None:
        tensors = load_file(weights)
        if wrong := tensors.keys() ^ {variable.path for variable in model.weights}:
            raise ValueError(f"{weights} does not fit the model: {sorted(wrong)}")
        for variable in model.weights:
            variable.assign(tensors[variable.path])
    return model
