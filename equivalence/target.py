"""An artefact folder as verify sees it: from the reference's names and axis orders, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..backends.artefact import Port, read_interface
from ..compiler import expr
from ..compiler.ops.constant import numpy_dtype
from ..compiler.tensor import write
from .engines import DIFFERENTIABLE
from .engines.protocol import Job, Result
from .reference import Feed, Key, Truth


class Target:
    """`folder` holds an artefact for `name`; weights files for it are written to `directory`."""

    def __init__(self, name: str, folder: str | Path, directory: str | Path) -> None:
        self.name = name
        self.folder = Path(folder)
        self.directory = Path(directory)
        self.interface, self.map = read_interface(folder)
        self.weights = {path for entry in self.map.entries.values() for path in entry.sources}
        self.deviations = self.interface.deviations

    @property
    def differentiable(self) -> bool:
        """Whether its framework has gradients, and so a training mode."""
        return self.name in DIFFERENTIABLE

    def write_weights(self, weights: Mapping[str, Any], label: str) -> str:
        """Writes canonical weights under the target's keys; returns the path of the file."""
        path = self._weights(label)
        if not path.exists():
            write(path, self.map.convert(weights))
        return str(path)

    def discard_weights(self, label: str) -> None:
        """Removes a file of weights; `job` writes it anew where it is asked for again."""
        self._weights(label).unlink(missing_ok=True)

    def _weights(self, label: str) -> Path:
        return self.directory / f"{self.name}-{label}.safetensors"

    def job(
        self,
        feed: Feed,
        training: bool,
        label: str,
        *,
        watch: bool = False,
        trace: Sequence[str] = (),
    ) -> Job:
        """The feed as the target takes it; with cotangents if it can differentiate."""
        return Job(
            str(self.folder.resolve()),
            self.write_weights(feed.weights, label),
            tuple(port.argument for port in self.interface.inputs),
            tuple(port.argument for port in self.interface.outputs),
            _stored(_completed(feed, self.interface.inputs), self.interface.inputs),
            _stored(feed.cotangents, self.interface.outputs) if self.differentiable else {},
            training,
            watch,
            tuple(trace),
        )

    def tensors(self, result: Result) -> Truth:
        """What the target gave, as the reference names and orders it."""
        found: Truth = {}
        for kind, arrays, ports in (
            ("output", result.outputs, self.interface.outputs),
            ("input gradient", result.input_gradients, self.interface.inputs),
        ):
            for port in ports:
                if port.argument in arrays:
                    found[Key(kind, port.name)] = _canonical(arrays[port.argument], port)
        for path, array in self.map.gradients(self._known(result.parameter_gradients)).items():
            found[Key("parameter gradient", path)] = array
        for path, array in self.map.invert(self._known(result.updates)).items():
            found[Key("update", path)] = array
        return found

    def _known(self, arrays: Mapping[str, Any]) -> dict[str, Any]:
        """Those that the weight map has: not counters, nor states of random generators."""
        return {key: array for key, array in arrays.items() if key in self.map.entries}


def _stored(arrays: Mapping[str, Any], ports: Sequence[Port]) -> dict[str, Any]:
    """By the target's names, in its order of axes."""
    return {
        port.argument: np.ascontiguousarray(_moved(arrays[port.name], port))
        for port in ports
        if port.name in arrays
    }


def _completed(feed: Feed, ports: Sequence[Port]) -> dict[str, Any]:
    """The inputs, with what stands for those that are left out and the target must be given."""
    arrays = dict(feed.inputs)
    for port in ports:
        if port.name not in arrays and port.default is not None:
            shape = [expr.evaluate(expr.parse(size), feed.sizes) for size in port.shape]
            array = np.full(shape, port.default, numpy_dtype(port.dtype))
            arrays[port.name] = _canonical(array, port)
    return arrays


def _moved(array: Any, port: Port) -> Any:
    """An array of the reference in the target's order of axes."""
    return array if port.order is None else np.transpose(array, port.order)


def _canonical(array: Any, port: Port) -> Any:
    """An array of the target in the model's order of axes."""
    if port.order is None or array.ndim != len(port.order):
        return array
    return np.transpose(array, np.argsort(port.order))
