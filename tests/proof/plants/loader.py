"""Faults of the loaders that emitted source has: what they read from the file is changed.

All source targets load with `load_file`, each under its own names and in its own layouts.
"""

from __future__ import annotations

from tests.proof.plants.plant import Plant

_HELPER = """
import numpy

def changed(key, array, tensors):
    name = key.replace("/", ".").rpartition(".")[2]
    kernel = array.ndim == 4 and max(array.shape[i] for i in {spatial}) > 1
    bias = name in ("bias", "beta")
    statistic = name in ("running_mean", "moving_mean", "mean", "running_var",
                         "moving_variance", "var")
    {change}

def planted(tensors):
    arrays = {{key: numpy.array(tensor) for key, tensor in tensors.items()}}
    result = {{}}
    for key, array in arrays.items():
        new = changed(key, array, arrays)
        old = tensors[key]
        new = old if new is None else numpy.ascontiguousarray(new, array.dtype)
        torch = hasattr(old, "new_tensor")
        result[key] = old.new_tensor(new) if torch and new is not old else new
    return result
"""

_CHANGES = {
    "square weight transposed": """
    if array.ndim in (2, 3) and not statistic:
        for shape in ((array.shape[0], -1), (-1, array.shape[-1])):
            matrix = array.reshape(shape)
            if matrix.shape[0] == matrix.shape[1] > 1:
                return matrix.T.reshape(array.shape)
    """,
    "matrix reshaped, not transposed": """
    if array.ndim == 2 and array.shape[0] != array.shape[1] and 1 not in array.shape:
        return array.T.reshape(array.shape)
    """,
    "kernel flipped": """
    if kernel:
        return numpy.flip(array, {spatial})
    """,
    "axes of a kernel exchanged": """
    a, b = {spatial}
    if kernel and array.shape[a] == array.shape[b]:
        return array.swapaxes(a, b)
    """,
    "input channels reversed": """
    if array.ndim == 4 and array.shape[{channels}] > 1:
        return numpy.flip(array, {channels})
    """,
    "bias left at zero": """
    if bias:
        return array * 0
    """,
    "bias added twice": """
    if bias:
        return 2 * array
    """,
    "two rows exchanged": """
    if not statistic and array.shape and array.shape[{rows}] > 1:
        order = numpy.arange(array.shape[{rows}])
        order[[0, 1]] = order[[1, 0]]
        return numpy.take(array, order, {rows})
    """,
    "gates in another order": """
    if "lstm" in key and array.shape[{rows}] % 4 == 0:
        parts = numpy.split(array, 4, {rows})
        return numpy.concatenate([parts[1], parts[0], *parts[2:]], {rows})
    """,
    "one element 10 % off": """
    if not statistic and key == max(tensors, key=lambda k: tensors[k].size):
        new = array.copy()
        new.reshape(-1)[new.size // 2] *= numpy.float32(1.1)
        return new
    """,
    "last element left at zero": """
    if not statistic and key == max(tensors, key=lambda k: tensors[k].size):
        new = array.copy()
        new.reshape(-1)[-1] = 0
        return new
    """,
    "weights in f16": """
    return None if statistic else array.astype(numpy.float16)
    """,
    "weights in bf16": """
    import ml_dtypes
    return None if statistic else array.astype(ml_dtypes.bfloat16)
    """,
    "running mean not loaded": """
    if name in ("running_mean", "moving_mean", "mean"):
        return array * 0
    """,
    "running variance not loaded": """
    if name in ("running_var", "moving_variance", "var"):
        return array * 0 + 1
    """,
    "weight of another layer": """
    part = lambda k: k.replace("/", ".").rpartition(".")[2]
    same = [k for k in tensors if part(k) == name and tensors[k].shape == array.shape]
    if not statistic and len(same) > 1:
        return tensors[same[same.index(key) - 1]]
    """,
}


def loaders(*, spatial: tuple[int, int], channels: int, rows: int) -> dict[str, Plant]:
    """The faults of a loader whose kernels have these axes, and outputs on the axis `rows`."""
    edit = {"load_file(weights)": "planted(load_file(weights))"}
    axes = {"spatial": spatial, "channels": channels, "rows": rows}
    return {
        name: Plant(edit, _HELPER.format(change=change.strip().format(**axes), **axes))
        for name, change in _CHANGES.items()
    }


LOADED = frozenset(_CHANGES)
"""The names of these faults."""
