"""Calls of Keras models as TensorFlow functions, and how many operations their graphs have."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(1)


def build(module: Any, config: dict[str, int], weights: dict[str, np.ndarray]) -> keras.Model:
    del weights
    return module.build(**config)


def give(model: keras.Model, other: keras.Model) -> None:
    """Copies the weights of one model to another, which has the same in the same order."""
    other.set_weights(model.get_weights())


def calls(model: keras.Model, given: np.ndarray) -> dict[str, Callable[[], Any]]:
    """The forward pass in inference mode, and gradients of the weights in training mode."""
    x = tf.constant(given)
    return {name: lambda call=call: call(x) for name, call in _functions(model, x).items()}


def output(model: keras.Model, given: np.ndarray) -> np.ndarray:
    return model(given, training=False).numpy()


def operations(model: keras.Model, given: np.ndarray) -> dict[str, int]:
    return {
        name: len(call.get_concrete_function(tf.constant(given)).graph.get_operations())
        for name, call in _functions(model, tf.constant(given)).items()
    }


def _functions(model: keras.Model, x: tf.Tensor) -> dict[str, Any]:
    @tf.function
    def forward(x: tf.Tensor) -> tf.Tensor:
        return model(x, training=False)

    @tf.function
    def gradient(x: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(model(x, training=True)))
        return tape.gradient(loss, [v.value for v in model.trainable_variables])

    return {"forward": forward, "gradient": gradient}
