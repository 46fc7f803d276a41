"""Edits of an ONNX model: nodes that are changed, and nodes that are put behind a value."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

FLOAT = onnx.TensorProto.FLOAT

GRADIENT, NEXT = "grad.", ".next"
"""What the names of gradients begin with, and those of new buffers end with."""

UNKNOWN = "unk__"
"""What names begin with that the inference of shapes gives to sizes."""


class Message:
    """A model that faults are planted in; `count` is how often that was."""

    def __init__(self, data: bytes) -> None:
        self.model = onnx.load_from_string(data)
        self.graph = self.model.graph
        self.count = 0
        self.types = {
            value.name: value.type.tensor_type
            for value in _typed(onnx.shape_inference.infer_shapes(self.model).graph)
        }
        self.initial = {tensor.name: tensor for tensor in self.graph.initializer}
        for name, tensor in self.initial.items():
            self.types.setdefault(name, _type_of(tensor))
        self.makers = {name: node for node in self.graph.node for name in node.output}

    def nodes(self, *kinds: str) -> list[onnx.NodeProto]:
        return [node for node in self.graph.node if node.op_type in kinds]

    def shape(self, name: str) -> tuple[Any, ...] | None:
        """Sizes, or names of sizes, or what equals no other; None if the rank is not known."""
        if name not in self.types or not self.types[name].HasField("shape"):
            return None
        dims = self.types[name].shape.dim
        return tuple(d.dim_value or d.dim_param or object() for d in dims)

    def alike(self, a: str, b: str) -> bool:
        """Whether they may have one shape: where an inference names sizes, names differ freely."""
        shapes = self.shape(a), self.shape(b)
        if None in shapes or len(shapes[0] or ()) != len(shapes[1] or ()):
            return False
        return all(
            x == y or (isinstance(x, str) and isinstance(y, str) and f"{x} {y}".count(UNKNOWN))
            for x, y in zip(*(shape or () for shape in shapes), strict=True)
        )

    def floating(self, name: str) -> bool:
        return name in self.types and self.types[name].elem_type == FLOAT

    def made(self, name: str) -> bool:
        """Whether a node computes it, from more than constants."""
        return name in self.makers and self.makers[name].op_type != "Constant"

    def constant(self, array: Any) -> str:
        """A new initialiser."""
        name = f"planted.{len(self.graph.initializer)}"
        self.graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def insert(self, place: int, kind: str, inputs: list[str], **attrs: Any) -> str:
        """A new node in front of that number `place`; its result."""
        name = f"planted.{kind}.{len(self.graph.node)}"
        self.graph.node.insert(place, helper.make_node(kind, inputs, [name], **attrs))
        return name

    def place(self, node: onnx.NodeProto) -> int:
        return next(i for i, each in enumerate(self.graph.node) if each is node)

    def retype(self, node: onnx.NodeProto, kind: str, inputs: list[str], **attrs: Any) -> None:
        """Makes a node another one, with the same results."""
        node.op_type = kind
        del node.input[:], node.attribute[:]
        node.input.extend(inputs)
        node.attribute.extend(helper.make_attribute(k, v) for k, v in attrs.items())
        self.count += 1

    def give(
        self, node: onnx.NodeProto, slot: int, kind: str, more: list[str], **attrs: Any
    ) -> None:
        """Lets an input of a node go through another node first."""
        node.input[slot] = self.insert(self.place(node), kind, [node.input[slot], *more], **attrs)
        self.count += 1

    def behind(self, name: str, make: Callable[[int, str], str]) -> None:
        """Lets what `make` inserts at a place take the place of a value, for all that use it."""
        maker = self.makers.get(name)
        if maker is None:
            users = [
                node for node in self.graph.node
                if name in node.input and not node.output[0].startswith("planted.")
            ]  # fmt: skip
            new = make(0, name)
            for user in users if new != name else ():
                user.input[:] = [new if given == name else given for given in user.input]
        else:
            hidden = f"{name}.planted"
            maker.output[:] = [hidden if given == name else given for given in maker.output]
            for node in self.graph.node:
                node.input[:] = [hidden if given == name else given for given in node.input]
            made = make(self.place(maker) + 1, hidden)
            node = next(node for node in self.graph.node if made in node.output)
            node.output[:] = [name if given == made else given for given in node.output]
            for user in self.graph.node:
                if user is not node and not user.output[0].startswith("planted."):
                    user.input[:] = [name if given == hidden else given for given in user.input]
        self.count += 1

    def outputs(self) -> list[str]:
        """The model's own outputs, of floats and with axes."""
        names = [value.name for value in self.graph.output]
        return [
            name for name in names
            if not name.startswith(GRADIENT) and not name.endswith(NEXT)
            and self.floating(name) and self.shape(name)
        ]  # fmt: skip

    def gradients(self, end: str = "") -> list[str]:
        """The outputs that are gradients, by names that end so."""
        names = [value.name for value in self.graph.output]
        return [name for name in names if name.startswith(GRADIENT) and name.endswith(end)]

    def updates(self, part: str = "") -> Iterator[tuple[str, str]]:
        """Outputs that are new buffers, and the buffers."""
        for value in self.graph.output:
            if value.name.endswith(NEXT) and part in value.name:
                yield value.name, value.name.removesuffix(NEXT)


def _typed(graph: onnx.GraphProto) -> list[onnx.ValueInfoProto]:
    return [*graph.input, *graph.value_info, *graph.output]


def _type_of(tensor: onnx.TensorProto) -> Any:
    return helper.make_tensor_type_proto(tensor.data_type, list(tensor.dims)).tensor_type


def attribute(node: onnx.NodeProto, name: str, default: Any = None) -> Any:
    """An attribute's value."""
    for each in node.attribute:
        if each.name == name:
            return helper.get_attribute_value(each)
    return default


def set_attribute(node: onnx.NodeProto, name: str, value: Any) -> None:
    kept = [each for each in node.attribute if each.name != name]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute(name, value)])
