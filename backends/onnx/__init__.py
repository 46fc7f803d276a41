"""The ONNX backend: a graph as a checked file, opset 21 and IR version 10."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ...compiler.diagnose import MlcError
from .lower import native

if TYPE_CHECKING:
    from ...compiler.graph import Graph
    from .file import OnnxArtefact


def emit(
    graph: Graph,
    name: str,
    *,
    keep_layout: bool = False,
    weights: Mapping[str, Any] | None = None,
    gradients: bool = False,
    training: bool = False,
) -> OnnxArtefact:
    """The model as `name`.onnx, which holds its weights, in one mode: inference, or `training`.

    Those are `weights`, canonical tensors by path; else the tensors that the graph has; else the
    starting values that `compiler.init` draws with seed 0. Axes are always in the source's order.
    Noise that the model draws is an input, see `compiler.passes.noise`.
    With `gradients` the file also computes those by every float input and trainable weight, see
    `compiler.passes.adjoint`. In training each dropout has a mask as an input,
    see `compiler.passes.mask`, and buffers come out as `<path>.next`.
    Raises MlcError `engine` where the package onnx is missing, `unsupported` for what ONNX cannot
    say, and `gradient` for an op that has none.
    """
    del keep_layout
    try:
        import onnx  # noqa: F401
    except ImportError as error:
        text = "writing an ONNX file takes the package onnx, which is not installed"
        raise MlcError("engine", text, help="pip install 'mlc[onnx]'") from error
    from .file import emit as write

    return write(graph, name, weights, gradients=gradients, training=training)


__all__ = ["emit", "native"]
