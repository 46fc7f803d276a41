"""Runs emitted Keras files on the backend of KERAS_BACKEND, in a process of its own.

`python -m tests.backends.keras_runner FOLDER` takes FOLDER/jobs.json: for each job an importable
folder in FOLDER, a file of weights, arrays to feed, and cotangents. It writes what the model gives
in inference, and what it gives in training with dropout at rate 0, gradients and buffers included,
all in float64.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import keras
import numpy as np

Arrays = dict[str, np.ndarray]
Found = tuple[list[Any], dict[str, Any], list[Any]]


def listed(result: Any) -> list[Any]:
    return list(result) if isinstance(result, (list, tuple)) else [result]


def weighted(outputs: list[Any], cotangents: list[Any]) -> Any:
    """The sum of the outputs, each times its cotangent; those of integers have none."""
    pairs = zip(outputs, cotangents, strict=True)
    return sum(keras.ops.sum(y * c) for y, c in pairs if c is not None)


def tensorflow(model: Any, inputs: list[Any], floats: list[int], cotangents: list[Any]) -> Found:
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch([inputs[i] for i in floats])
        outputs = listed(model(one(inputs), training=True))
        loss = weighted(outputs, cotangents)
    taken = [inputs[i] for i in floats] + [v.value for v in model.trainable_variables]
    zero = tf.UnconnectedGradients.ZERO
    slopes = [
        tf.convert_to_tensor(g) for g in tape.gradient(loss, taken, unconnected_gradients=zero)
    ]
    return outputs, buffers(model), slopes


def torch(model: Any, inputs: list[Any], floats: list[int], cotangents: list[Any]) -> Found:
    for i in floats:
        inputs[i] = inputs[i].detach().requires_grad_()
    outputs = listed(model(one(inputs), training=True))
    weighted(outputs, cotangents).backward()
    taken = [inputs[i] for i in floats] + [v.value for v in model.trainable_variables]
    slopes = [keras.ops.zeros_like(x) if x.grad is None else x.grad for x in taken]
    return outputs, buffers(model), slopes


def jax(model: Any, inputs: list[Any], floats: list[int], cotangents: list[Any]) -> Found:
    import jax

    fixed = [v.value for v in model.non_trainable_variables]

    @jax.jit
    def step(given: list[Any], trained: list[Any]) -> Any:
        return jax.grad(loss, argnums=(0, 1), has_aux=True)(given, trained)

    def loss(given: list[Any], trained: list[Any]) -> Any:
        fed = list(inputs)
        for i, x in zip(floats, given, strict=True):
            fed[i] = x
        result, after = model.stateless_call(trained, fixed, one(fed), training=True)
        outputs = listed(result)
        return weighted(outputs, cotangents), (outputs, after)

    trained = [v.value for v in model.trainable_variables]
    (by_input, by_weight), (outputs, after) = step([inputs[i] for i in floats], trained)
    paths = [v.path for v in model.non_trainable_variables]
    return outputs, dict(zip(paths, after, strict=True)), [*by_input, *by_weight]


STEPS = {"tensorflow": tensorflow, "torch": torch, "jax": jax}


def one(inputs: list[Any]) -> Any:
    return inputs if len(inputs) > 1 else inputs[0]


def inferred(model: Any, inputs: list[Any]) -> list[Any]:
    """The outputs in inference; JAX compiles the model once, rather than each op."""
    if keras.backend.backend() != "jax":
        return listed(model(one(inputs), training=False))
    import jax

    held = [[v.value for v in found] for found in (model.trainable_variables,
                                                   model.non_trainable_variables)]  # fmt: skip
    call = jax.jit(lambda inputs, held: model.stateless_call(*held, one(inputs), training=False)[0])
    return listed(call(inputs, held))


def buffers(model: Any) -> dict[str, Any]:
    return {v.path: v.value for v in model.non_trainable_variables}


def built(job: dict[str, Any], folder: Path) -> Any:
    """The model with its weights, new each time: a call may change its states."""
    model = import_module(job["folder"]).build(folder / job["weights"])
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0
    return model


def run(job: dict[str, Any], folder: Path) -> Arrays:
    """What a job's model gives, by kind and name."""
    given = np.load(folder / job["arrays"])
    inputs = [keras.ops.convert_to_tensor(given[f"in {name}"]) for name in job["inputs"]]
    names = job["outputs"]
    results = zip(names, inferred(built(job, folder), inputs), strict=True)
    found = {f"inference {name}": y for name, y in results}
    floats = [
        i for i, x in enumerate(inputs) if "float" in keras.backend.standardize_dtype(x.dtype)
    ]
    cotangents = [
        keras.ops.convert_to_tensor(given[f"by {n}"]) if f"by {n}" in given else None for n in names
    ]
    model = built(job, folder)
    step = STEPS[keras.backend.backend()]
    outputs, after, slopes = step(model, inputs, floats, cotangents)
    taken = [job["inputs"][i] for i in floats] + [v.path for v in model.trainable_variables]
    found |= {f"output {name}": y for name, y in zip(names, outputs, strict=True)}
    found |= {f"update {path}": x for path, x in after.items()}
    found |= {f"gradient {name}": g for name, g in zip(taken, slopes, strict=True)}
    return {key: keras.ops.convert_to_numpy(x) for key, x in found.items()}


def main(folder: Path) -> None:
    keras.config.set_floatx("float64")
    sys.path.insert(0, str(folder))
    for job in json.loads((folder / "jobs.json").read_text()):
        np.savez(folder / f"{job['name']}_found.npz", **run(job, folder))
        keras.backend.clear_session()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
