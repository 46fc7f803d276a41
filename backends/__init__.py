"""From the graph to source code: one module a target.

`TARGETS` knows the targets by name without importing any; a target's module is imported when its
`emit` is asked for, and its framework never.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..compiler.graph import Node
    from .artefact import Artefact


@dataclass(frozen=True, slots=True)
class Target:
    """A framework that mlc writes for.

    `emits` says what, in words; `module` is what running it imports; `versions` are the releases
    with which it was verified, by the name of their package; `extra` installs them. A framework
    without gradients of its own is given files that compute them: `gradients` are the modes in
    which there are such. `styles` are other ways in which its source may be written.
    """

    name: str
    emits: str
    module: str
    versions: Mapping[str, str]
    gradients: tuple[str, ...] = ()
    styles: tuple[str, ...] = ()

    @property
    def extra(self) -> str:
        return f"mlc[{self.name}]"

    @property
    def emit(self) -> Callable[..., Artefact]:
        """`emit(graph, name, *, keep_layout=False) -> Artefact` of the target's module."""
        emit: Callable[..., Artefact] = import_module(f".{self.name}", __name__).emit
        return emit

    @property
    def native(self) -> Callable[[Node], bool]:
        """`native(node)` of the target's module: whether it has a form of its own for a node."""
        native: Callable[[Node], bool] = import_module(f".{self.name}", __name__).native
        return native

    @property
    def installed(self) -> bool:
        """Whether its framework could be imported; does not import it."""
        from importlib.util import find_spec

        return find_spec(self.module) is not None


TARGETS: Mapping[str, Target] = {
    target.name: target
    for target in (
        Target(
            "keras",
            "Keras 3 source, for any of its backends",
            "keras",
            {"keras": "3.15.1", "tensorflow-cpu": "2.21.0"},
        ),
        Target("pytorch", "PyTorch source", "torch", {"torch": "2.13.0"}),
        Target(
            "jax",
            "Flax NNX source",
            "flax",
            {"jax": "0.10.2", "flax": "0.12.8"},
            styles=("functional",),
        ),
        Target(
            "openvino",
            "OpenVINO opset source",
            "openvino",
            {"openvino": "2026.4.1"},
            ("inference", "training"),
        ),
        Target(
            "onnx",
            "an ONNX file",
            "onnx",
            {"onnx": "1.23.2", "onnxruntime": "1.32.0"},
            ("inference", "training"),
        ),
    )
}
"""Every target by its name on the command line."""
