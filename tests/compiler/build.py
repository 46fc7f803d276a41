"""Small graphs by hand, for tests."""

from __future__ import annotations

import numpy as np

from mlc.compiler.dim import symbol
from mlc.compiler.graph import Graph, Init, Input, Scope, Type, Weight
from mlc.compiler.op import Build


def size(axis):
    return symbol(axis) if isinstance(axis, str) else axis


def start(name="net", **inputs):
    """(graph, builder, *inputs): each given as a shape, or (dtype, shape); names are symbols."""
    graph = Graph(name, Scope("model"))
    for key, given in inputs.items():
        dtype, shape = given if given and given[0] in ("f32", "i32", "bool") else ("f32", given)
        graph.inputs.append(Input(key, Type(dtype, tuple(map(size, shape)))))
    return graph, Build(graph), *graph.inputs


def weight(graph, path, shape, init="normal", trainable=True):
    made = Weight(
        path, Type("f32", shape), Init(init), trainable=trainable, scope=graph.root, part=path
    )
    graph.weights[path] = made
    return made


def names(graph):
    """The ops of the graph, in order."""
    return [node.op.name for node in graph]


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)
