"""Tagger: tags the words of sentences (Huang et al. 2015) by an LSTM that reads them from either
end; the rows of a batch are as long as `lengths` says.

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


@keras.saving.register_keras_serializable(package="tagger")
class LSTM(keras.layers.Layer):
    """Layers of keras.layers.LSTM over x (B, T, C).

    Gives y (B, T, directions * units) and the last h and c (layers * directions, B, units).
    A row ends at its length: zeros follow, and its states stay.
    """

    def __init__(self, units: int, depth: int = 1, bidirectional: bool = False, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.depth = depth
        self.bidirectional = bidirectional

    def build(self, x_shape, lengths_shape):
        self.stack = []
        for i in range(self.depth):
            layer = keras.layers.LSTM(
                self.units,
                kernel_initializer=uniform(self.units),
                recurrent_initializer=uniform(self.units),
                bias_initializer=uniform(self.units),
                unit_forget_bias=False,
                return_sequences=True,
                return_state=True,
                name="lstm" if self.bidirectional else f"l{i}",
            )
            if self.bidirectional:
                layer = keras.layers.Bidirectional(layer, name=f"l{i}")
            layer.build(x_shape)
            x_shape = (*x_shape[:-1], (1 + self.bidirectional) * self.units)
            self.stack.append(layer)

    def call(self, x, lengths):
        mask = keras.ops.arange(keras.ops.shape(x)[1], dtype=lengths.dtype) < lengths[:, None]
        last = []
        for layer in self.stack:
            x, *after = layer(x, mask=mask)
            last += after
        x = keras.ops.where(mask[:, :, None], x, 0.0)
        return x, keras.ops.stack(last[::2]), keras.ops.stack(last[1::2])

    def compute_output_spec(self, x, lengths):
        y = keras.KerasTensor(
            (*x.shape[:-1], (1 + self.bidirectional) * self.units), dtype=self.compute_dtype
        )
        shape = (self.depth * (1 + self.bidirectional), x.shape[0], self.units)
        return y, keras.KerasTensor(shape, dtype=y.dtype), keras.KerasTensor(shape, dtype=y.dtype)

    def get_config(self):
        return {
            **super().get_config(),
            "units": self.units,
            "depth": self.depth,
            "bidirectional": self.bidirectional,
        }


def tagger(
    vocab: int = 20000, width: int = 100, hidden: int = 200, layers: int = 2, tags: int = 45
) -> keras.Model:
    """Words (B, T), lengths (B,) -> logits (B, T, tags)."""
    words = keras.Input((None,), dtype="int32", name="words")
    lengths = keras.Input((), dtype="int32", name="lengths")
    h = keras.layers.Embedding(
        vocab, width, embeddings_initializer=keras.initializers.RandomNormal(stddev=1), name="word"
    )(words)
    h, _, _ = LSTM(hidden, depth=layers, bidirectional=True, name="lstm")(h, lengths=lengths)
    logits = keras.layers.Dense(
        tags, kernel_initializer=fan_uniform, bias_initializer=uniform(2 * hidden), name="linear"
    )(h)
    return keras.Model([words, lengths], logits, name="tagger")


def build(weights: str | Path | None = None, **config: int) -> keras.Model:
    """Return the model, with the weights of a safetensors file if one is given."""
    model = tagger(**config)
    if weights is not None:
        tensors = load_file(weights)
        if wrong := tensors.keys() ^ {variable.path for variable in model.weights}:
            raise ValueError(f"{weights} does not fit the model: {sorted(wrong)}")
        for variable in model.weights:
            variable.assign(tensors[variable.path])
    return model
