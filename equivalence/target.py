"""What was emitted for a target as verify sees it: from the reference's names and axes, and back.

A target whose framework has no gradients may come as several folders: the model's own, and for
each mode one that computes the gradients too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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


@dataclass(frozen=True)
class Emitted:
    """The folders of a target whose framework has no gradients.

    `gradients` are those of the model with its gradients, by mode; `refused` says why there is none
    for a mode.
    """

    folder: str | Path
    gradients: Mapping[str, str | Path] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)


class Target:
    """`folder` holds an artefact for `name`; weights files for it are written to `directory`.

    `label` tells the files of one folder from those of another of the same target.
    """

    def __init__(
        self, name: str, emitted: str | Path | Emitted, directory: str | Path, label: str = ""
    ) -> None:
        if not isinstance(emitted, Emitted):
            emitted = Emitted(emitted)
        self.name = name
        self.label = label or name
        self.folder = Path(emitted.folder)
        self.directory = Path(directory)
        self.refused = emitted.refused
        self.companions = {
            mode: Target(name, folder, directory, f"{self.label}-gradients-{mode}")
            for mode, folder in emitted.gradients.items()
        }
        self.interface, self.map = read_interface(self.folder)
        self.weights = {path for entry in self.map.entries.values() for path in entry.sources}
        self.deviations = self.interface.deviations

    @property
    def differentiable(self) -> bool:
        """Whether its framework has gradients, and so a training mode."""
        return self.name in DIFFERENTIABLE

    @property
    def gives_gradients(self) -> bool:
        """Whether a run of this folder can give gradients."""
        return self.differentiable or self.interface.gradients is not None

    def parts(self, mode: str) -> list[Target]:
        """Those of its folders that run in a mode: together they give what there is to compare."""
        own = [self] if self.differentiable or mode != "training" else []
        return own + [each for name, each in self.companions.items() if name == mode]

    def write_weights(self, weights: Mapping[str, Any], label: str) -> str:
        """Writes canonical weights under the target's keys; returns the path of the file."""
        path = self._weights(label)
        if not path.exists():
            write(path, self.map.convert(weights))
        return str(path)

    def discard_weights(self, label: str) -> None:
        """Removes a file of weights; `job` writes it anew where it is asked for again."""
        for each in (self, *self.companions.values()):
            each._weights(label).unlink(missing_ok=True)

    def _weights(self, label: str) -> Path:
        return self.directory / f"{self.label}-{label}.safetensors"

    def job(
        self,
        feed: Feed,
        training: bool,
        label: str,
        *,
        watch: bool = False,
        trace: Sequence[str] = (),
        lower: bool = False,
    ) -> Job:
        """The feed as the target takes it; with cotangents if it can differentiate."""
        arrays = _completed(feed, self.interface.inputs)
        if (made := self.interface.gradients) is not None:
            weighs = made.cotangents.items()
            arrays |= {title: feed.cotangents[name] for name, title in weighs}
        return Job(
            str(self.folder.resolve()),
            self.write_weights(feed.weights, label),
            tuple(port.argument for port in self.interface.inputs),
            tuple(port.argument for port in self.interface.outputs),
            _stored(arrays, self.interface.inputs),
            _stored(feed.cotangents, self.interface.outputs) if self.differentiable else {},
            training,
            watch,
            tuple(trace),
            lower,
            tuple((p.noise, _moved(feed.inputs[p.name], p)) for p in self.interface.noise),
        )

    def tensors(self, result: Result) -> Truth:
        """What the target gave, as the reference names and orders it."""
        found: Truth = {}
        keys = self._output_keys()
        for port in self.interface.outputs:
            if port.argument in result.outputs:
                found[keys[port.name]] = _canonical(result.outputs[port.argument], port)
        for port in self.interface.inputs:
            if port.argument in result.input_gradients:
                array = _canonical(result.input_gradients[port.argument], port)
                found[Key("input gradient", port.name)] = array
        for path, array in self.map.gradients(self._known(result.parameter_gradients)).items():
            found[Key("parameter gradient", path)] = array
        for path, array in self.map.invert(self._known(result.updates)).items():
            found[Key("update", path)] = array
        return found

    def _output_keys(self) -> dict[str, Key]:
        """What each output of the file is."""
        keys = {port.name: Key("output", port.name) for port in self.interface.outputs}
        if (made := self.interface.gradients) is not None:
            keys |= {title: Key("input gradient", x) for x, title in made.inputs.items()}
            keys |= {title: Key("parameter gradient", x) for x, title in made.weights.items()}
        return keys

    def _known(self, arrays: Mapping[str, Any]) -> dict[str, Any]:
        """Those that the weight map has: not counters, nor states of random generators."""
        return {key: array for key, array in arrays.items() if key in self.map.entries}


def _stored(arrays: Mapping[str, Any], ports: Sequence[Port]) -> dict[str, Any]:
    """By the target's names, in its order of axes."""
    return {
        port.argument: np.asarray(_moved(arrays[port.name], port), order="C")
        for port in ports
        if port.name in arrays
    }


def _completed(feed: Feed, ports: Sequence[Port]) -> dict[str, Any]:
    """The inputs, with what stands for those that are left out and the target must be given."""
    arrays = dict(feed.inputs)
    for port in ports:
        if port.name not in arrays and port.default is not None:
            shape = [expr.evaluate(expr.size(size), feed.sizes) for size in port.shape]
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
