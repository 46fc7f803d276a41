"""The vision transformer in Keras, written by hand."""

import keras
from keras import layers, ops


class Embed(layers.Layer):
    """Puts the class token before the patches, and adds the positions."""

    def build(self, shape):
        _, patches, dim = shape
        self.start = self.add_weight(shape=(1, 1, dim), initializer="zeros")
        self.position = self.add_weight(shape=(1, patches + 1, dim), initializer="random_normal")

    def call(self, x):
        start = ops.repeat(self.start, ops.shape(x)[0], axis=0)
        return ops.concatenate([start, x], axis=1) + self.position


def block(x: keras.KerasTensor, heads: int) -> keras.KerasTensor:
    dim = x.shape[-1]
    y = layers.LayerNormalization(epsilon=1e-6)(x)
    y = layers.MultiHeadAttention(heads, dim // heads)(y, y)
    x = layers.Add()([x, layers.Dropout(0.0)(y)])
    y = layers.LayerNormalization(epsilon=1e-6)(x)
    y = layers.Dense(4 * dim, activation="gelu")(y)
    y = layers.Dense(dim)(layers.Dropout(0.0)(y))
    return layers.Add()([x, layers.Dropout(0.0)(y)])


def build(size: int, patch: int, D: int, layers: int, heads: int, classes: int) -> keras.Model:
    image = keras.Input((size, size, 3))
    x = keras.layers.Conv2D(D, patch, strides=patch)(image)
    x = keras.layers.Reshape(((size // patch) ** 2, D))(x)
    x = Embed()(x)
    for _ in range(layers):
        x = block(x, heads)
    x = keras.layers.LayerNormalization(epsilon=1e-6)(x)
    return keras.Model(image, keras.layers.Dense(classes)(x[:, 0]))
