"""The file as a whole: inputs, outputs, weights, and the folder that holds it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import onnx
from onnx import TensorProto, helper, numpy_helper, printer

from ...compiler.array import np
from ...compiler.clone import clone
from ...compiler.diagnose import MlcError
from ...compiler.graph import Graph, Input, Node, Value
from ...compiler.init import Starts
from ...compiler.ops.constant import numpy_dtype
from ...compiler.passes.adjoint import adjoint
from ...compiler.passes.mask import mask
from ...compiler.passes.mode import resolve
from ...compiler.passes.noise import as_inputs
from ...compiler.tensor import dtype_name
from ...compiler.weight import Entry, Form, WeightMap, check, forms
from ..artefact import Artefact, Content, Gradients, Interface, Port
from .lower import lower, needed
from .rules import ROWS
from .writer import DTYPES, Writer, tensor_info

if TYPE_CHECKING:
    from ...compiler.tensor import Array

OPSET = 21
IR = 10
LIMIT = 10**9
"""From so many bytes of weights on they lie in a file beside the model's: protobuf ends at 2 GB."""
ALIGNED = 4096


@dataclass(frozen=True, slots=True)
class OnnxArtefact(Artefact):
    """The folder of an ONNX file. The weights are in the file itself, so none lie beside it."""

    graph: Graph | None = field(default=None, repr=False)
    gradients: bool = False
    training: bool = False
    held: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def source(self) -> str:
        """The file as text: ONNX's own syntax, with the weights' names and without their data."""
        data = self.files[f"{self.name}.onnx"]
        assert isinstance(data, bytes)
        return show(data)

    def with_weights(self, weights: Mapping[str, Array]) -> Artefact:
        """The file with these canonical tensors in it."""
        if all(np.array_equal(self.held[path], weights[path]) for path in self.held):
            return self
        assert self.graph is not None
        modes = {"gradients": self.gradients, "training": self.training}
        return emit(self.graph, self.name, weights, **modes)


def emit(
    graph: Graph,
    name: str,
    weights: Mapping[str, Any] | None,
    *,
    gradients: bool = False,
    training: bool = False,
) -> OnnxArtefact:
    """See `mlc.backends.onnx.emit`."""
    held = _tensors(graph, weights)
    copy, _ = clone(graph)
    as_inputs(copy)
    resolve(copy, training)
    masks = mask(copy)
    slopes = None
    if gradients:
        both = adjoint(copy, without=masks)
        copy, slopes = both.graph, Gradients(both.cotangents, both.inputs, both.weights)
    interface = Interface(graph.name, _ports(copy, masks), _results(copy), gradients=slopes)
    model, beside = _model(copy, name, held)
    files: dict[str, Content] = {
        f"{name}.onnx": model.SerializeToString(),
        "__init__.py": PACKAGE.format(
            file=f"{name}.onnx", model=re.sub(r"\W", "_", graph.name, flags=re.ASCII)
        ),
    }
    if beside:
        files[f"{name}.onnx.data"] = partial(_data, held)
    return OnnxArtefact(
        "onnx",
        name,
        files,
        WeightMap([Entry(path, (path,)) for path in graph.weights]),
        interface,
        graph=graph,
        gradients=gradients,
        training=training,
        held=held,
    )


def _tensors(graph: Graph, weights: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """The tensor of each weight, which must be what its type says (MlcError `weights-...`)."""
    given = {path: weight.data for path, weight in graph.weights.items()}
    if weights is not None:
        given = {path: weights[path] for path in given}
    found = {path: (dtype_name(x.dtype), x.shape) for path, x in given.items() if x is not None}
    check(found, {path: graph.weights[path] for path in found}, "what is given")
    return Starts(graph.weights) if weights is None else given


def _ports(graph: Graph, masks: Mapping[str, float]) -> tuple[Port, ...]:
    """The inputs; a mask that is 1 - rate everywhere drops nothing."""
    still = {name: 1 - rate for name, rate in masks.items()}
    return tuple(
        Port.of(x, x.name, optional=x.default is not None, default=still.get(x.name))
        for x in graph.inputs
    )


def _results(graph: Graph) -> tuple[Port, ...]:
    return tuple(Port.of(value, name) for name, value in graph.outputs.items())


# ------------------------------------------------------------------------------------- the graph


def _model(graph: Graph, name: str, held: Mapping[str, Any]) -> tuple[Any, bool]:
    """The checked model, and whether its weights lie in the file beside it."""
    paths, results = lower(graph)
    w = Writer(graph, results)
    outputs = _outputs(graph)
    _claim(w, graph, outputs)
    w.finals = {value: title for title, value in reversed(outputs.items())}
    defaults = [_default(given) for given in graph.inputs if given.default is not None]
    for given in graph.inputs:
        w.names[given] = _stretched(w, given)
    for path, weight in graph.weights.items():
        w.names[weight] = path
    w.write = partial(_write_nodes, w, paths)
    w.write(graph)
    for title, value in outputs.items():
        if w.names[value] != title:
            w.finish(value, title)
    states = [tensor_info(u.path, u.type.dtype, u.type.shape) for u in graph.updates]
    made = helper.make_graph(
        w.nodes,
        graph.name,
        [tensor_info(x.name, x.type.dtype, x.type.shape) for x in graph.inputs] + states,
        [tensor_info(key, y.type.dtype, y.type.shape) for key, y in outputs.items()],
    )
    model = helper.make_model(
        made, producer_name="mlc", ir_version=IR, opset_imports=[helper.make_opsetid("", OPSET)]
    )
    if graph.facts:
        helper.set_model_props(model, {"sizes": "; ".join(map(str, graph.facts))})
    made = model.graph
    made.initializer.extend(defaults)
    _check(model, graph)
    if sum(map(_bytes, forms(graph.weights).values())) >= LIMIT:
        _place_beside(made, name, graph)
        return model, True
    for path, array in held.items():
        made.initializer.append(numpy_helper.from_array(np.asarray(array), path))
    return model, False


def _outputs(graph: Graph) -> dict[str, Value]:
    """What leaves the file: the outputs, and each state after a call as `<path>.next`."""
    states = {f"{weight.path}.next": value for weight, (value, _) in graph.updates.items()}
    return {**graph.outputs, **states}


def _claim(w: Writer, graph: Graph, outputs: Mapping[str, Value]) -> None:
    """Takes the names that the file must have before any other value gets one."""
    for name in (*(x.name for x in graph.inputs), *graph.weights, *outputs):
        if w.claim(name) != name:
            text = f"two of the inputs, outputs and weights of {graph.name} are called {name}"
            raise MlcError("unsupported", text, help="in an ONNX file each needs a name of its own")


def _write_nodes(w: Writer, paths: Mapping[Node, str], graph: Graph) -> None:
    wanted = needed(graph)
    for node in graph:
        if node not in wanted:
            continue
        w.at(paths[node])
        start = len(w.nodes)
        names = [None if value is None else w.names[value] for value in node.inputs]
        results = ROWS[node.op.name](w, node, *names)
        results = results if isinstance(results, tuple) else (results,)
        for value, result in zip(node.outputs, results, strict=True):
            w.place(value, result, start)


def _default(given: Input) -> Any:
    """The initialiser of an input that may be left out: of size 1 where its size is not known."""
    shape = [size if isinstance(size, int) else 1 for size in given.type.shape]
    array = np.full(shape, given.default, numpy_dtype(given.type.dtype))
    return numpy_helper.from_array(array, given.name)


def _stretched(w: Writer, given: Input) -> str:
    """The name under which the graph reads an input, which for a default is stretched first."""
    if given.default is None or all(isinstance(size, int) for size in given.type.shape):
        return given.name
    return w("Expand", given.name, w.vector(given.type.shape))


# --------------------------------------------------------------------------- weights and checks


def _bytes(form: Form) -> int:
    dtype, shape = form
    return math.prod(shape) * int(np.dtype(numpy_dtype(dtype)).itemsize)


def _place_beside(made: Any, name: str, graph: Graph) -> None:
    """Declares the weights as lying in `<name>.onnx.data`, in the order of `_data`."""
    offset = 0
    for path, form in forms(graph.weights).items():
        dtype, shape = form
        length = _bytes(form)
        tensor = TensorProto(name=path, data_type=DTYPES[dtype], dims=shape)
        tensor.data_location = TensorProto.EXTERNAL
        where = {"location": f"{name}.onnx.data", "offset": offset, "length": length}
        for key, value in where.items():
            tensor.external_data.add(key=key, value=str(value))
        made.initializer.append(tensor)
        offset += length + -length % ALIGNED


def _data(held: Mapping[str, Any]) -> Iterator[bytes | memoryview]:
    """What the file beside the model holds: a weight at a time passes through memory."""
    for array in held.values():
        yield np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
        yield bytes(-array.nbytes % ALIGNED)


def _check(model: Any, graph: Graph) -> None:
    """Raises unless ONNX's own checker, with its inference of shapes, accepts the model.

    The weights, which are not in it yet, are inputs in its eyes: a large file costs no more.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    given = {value.name for value in copy.graph.input}
    weights = (weight for path, weight in graph.weights.items() if path not in given)
    copy.graph.input.extend(tensor_info(w.path, w.type.dtype, w.type.shape) for w in weights)
    onnx.checker.check_model(copy, full_check=True)


def _info(tensor: Any) -> Any:
    return helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))


def show(data: bytes) -> str:
    """An ONNX file as text, without the data of its initialisers."""
    model = onnx.load_model_from_string(data)
    given = {value.name for value in model.graph.input}
    model.graph.value_info.extend(
        _info(tensor) for tensor in model.graph.initializer if tensor.name not in given
    )
    del model.graph.initializer[:]
    for node in model.graph.node:
        if node.name in node.output:
            node.ClearField("name")
    return printer.to_text(model) + "\n"


PACKAGE = '''"""{model} for onnx; README.md says how to use it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import onnxruntime
from onnx import numpy_helper

FILE = Path(__file__).with_name({file!r})


def build(weights: str | Path | None = None, **config: Any) -> onnxruntime.InferenceSession:
    """A session of the model; `weights` (safetensors) take the place of those in the file."""
    if weights is None:
        return onnxruntime.InferenceSession(FILE, **config)
    from safetensors.numpy import load_file

    model = onnx.load(FILE)
    tensors = load_file(weights)
    for place in model.graph.initializer:
        if place.name in tensors:
            place.CopyFrom(numpy_helper.from_array(tensors[place.name], place.name))
    return onnxruntime.InferenceSession(model.SerializeToString(), **config)


__all__ = ["build"]
'''
