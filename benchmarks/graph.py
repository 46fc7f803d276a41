"""How fast graphs are built, walked, rewritten and cleaned: python benchmarks/graph.py [SIZE ...]

Prints a table, one row a size, in milliseconds of this process (the best of three runs), and by
which power of the size each grows from the first size to the last.
"""

from __future__ import annotations

import gc
import math
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from mlc.compiler.graph import Graph, Input, Node, Scope, Type
from mlc.compiler.op import Build
from mlc.compiler.ops.activation import RELU
from mlc.compiler.ops.elementwise import ADD, IDENTITY, MUL
from mlc.compiler.passes import algebra, cse, dce, fold
from mlc.compiler.passes.grad import gradients
from mlc.compiler.text import text

SIZES = (1_000, 10_000, 100_000, 1_000_000)


def build(count: int) -> Graph:
    """Of every ten nodes, two repeat others, one does nothing, and two reach no output."""
    graph = Graph("net", Scope("model"))
    x = Input("x", Type("f32", (4, 8)))
    graph.inputs.append(x)
    b = Build(graph)
    value = x
    while len(graph) + 10 <= count:
        same = [b(RELU, b(MUL, value, x)) for _ in range(2)]
        value = b(IDENTITY, b(ADD, *same))
        value = b(ADD, value, b(MUL, value, x))
        b(RELU, b(MUL, value, value))
    graph.outputs["y"] = value
    return graph


def bare(count: int) -> Graph:
    """A chain of nodes whose types are given: the list alone."""
    scope = Scope("model")
    graph = Graph("net", scope)
    value: Input | object = Input("x", Type("f32", (4, 8)))
    for _ in range(count):
        value = graph.append(Node(RELU, [value], [Type("f32", (4, 8))], scope=scope)).output
    graph.outputs["y"] = value
    return graph


def walk(graph: Graph) -> int:
    """Visits every use of every value."""
    return sum(len(output.users) for node in graph for output in node.outputs)


def rewrite(graph: Graph) -> int:
    """Puts a new node in the place of every third one, while walking."""
    changes = 0
    for i, node in enumerate(graph):
        if i % 3 == 0 and len(node.outputs) == 1:
            new = Node(node.op, node.inputs, [node.output.type], node.attrs, scope=node.scope)
            graph.insert_before(new, node)
            graph.replace(node.output, new.output)
            graph.erase(node)
            changes += 1
    return changes


def reverse(graph: Graph) -> int:
    """The gradient of the output by the input."""
    before = len(graph)
    gradients(graph, {"y": graph.inputs[0]}, graph.inputs)
    return len(graph) - before


COLUMNS: dict[str, tuple[Callable[[int], object], Callable[..., object]]] = {
    "build": (lambda count: count, build),
    "bare": (lambda count: count, bare),
    "walk": (build, walk),
    "rewrite": (build, rewrite),
    "fold": (build, fold),
    "algebra": (build, algebra),
    "cse": (build, cse),
    "dce": (build, dce),
    "cse+dce": (build, lambda graph: (cse(graph), dce(graph))),
    "print": (build, text),
    "reverse": (build, reverse),
}
"""Column -> (what is prepared from the size, what is timed on that)."""


def best(prepare: Callable[[int], object], run: Callable[..., object], count: int) -> float:
    """Milliseconds of the fastest of three runs, of a million nodes of one."""
    times = []
    for _ in range(3 if count < 1_000_000 else 1):
        subject = prepare(count)
        gc.collect()
        start = time.process_time()
        run(subject)
        times.append(time.process_time() - start)
    return 1000 * min(times)


def report(sizes: Sequence[int] = SIZES) -> str:
    """A table of Markdown."""
    lines = [
        "| nodes | " + " | ".join(COLUMNS) + " |",
        "| ---: " * (1 + len(COLUMNS)) + "|",
    ]
    rows = []
    for count in sizes:
        rows.append([best(prepare, run, count) for prepare, run in COLUMNS.values()])
        lines.append(f"| {count:,} | " + " | ".join(f"{ms:,.1f}" for ms in rows[-1]) + " |")
        print(lines[-1], file=sys.stderr, flush=True)
    times = math.log(sizes[-1] / sizes[0])
    powers = [
        math.log(last / first) / times if times else 1.0
        for first, last in zip(rows[0], rows[-1], strict=True)
    ]
    lines.append("| grows by | " + " | ".join(f"{power:.2f}" for power in powers) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(report([*map(int, sys.argv[1:])] or SIZES))
