"""JAX source with `scan_layers`: equal blocks as one whose weights are stacked, and a scan."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import mlc
from mlc.backends.artefact import import_package
from mlc.backends.jax import emit
from mlc.compiler.diagnose import MlcError
from mlc.compiler.graph import Graph
from mlc.equivalence.engines.lowering import products

EXAMPLES = Path(__file__).parents[2] / "examples"
TINY = {"vocab": 11, "D": 8, "heads": 2}


def gpt(**config: int) -> Graph:
    return mlc.load(EXAMPLES / "gpt.mdl", **TINY, **config)


def built(graph: Graph, folder: Path, **options: bool) -> tuple[Any, Any]:
    """The emitted file as a module, and its model without numbers."""
    package = import_package(emit(graph, "net", scan_layers=True, **options).save(folder))
    return sys.modules[f"{package.__name__}.net"], nnx.eval_shape(lambda: package.build())


def test_a_loop_over_equal_blocks_is_one_line_each_in_constructor_and_call() -> None:
    text = emit(gpt(layers=3), "net", scan_layers=True).source
    assert "self.layers = Stack(lambda rngs: Layer(D, heads, rngs=rngs), layers, rngs=rngs)" in text
    assert "self.layers(h)" in text
    assert "nnx.List" not in text
    assert "for layer in" not in text


def test_the_weights_of_a_stack_are_one_tensor_each() -> None:
    weight_map = emit(gpt(layers=3), "net", scan_layers=True).weight_map
    entry = weight_map.entries["layers.stacked.linear1.kernel"]
    assert entry.sources == tuple(f"layers.{i}.linear1.weight" for i in range(3))
    assert (entry.steps[-1].kind, entry.steps[-1].args) == ("stack", (3,))
    assert not any("layers.0" in target for target in weight_map.entries)


def test_slices_and_lists_of_a_loop_go_along_with_its_layers() -> None:
    text = emit(mlc.load(EXAMPLES / "llama.mdl"), "net", scan_layers=True).source
    caches = "(past_keys, past_values), cosine, sine)"
    assert f"h, all_keys, all_values = self.layers(h, {caches}" in text
    assert "return self.linear(self.rms_norm(h)), all_keys, all_values" in text


def test_a_program_does_not_grow_with_its_layers(tmp_path: Path) -> None:
    ids = jax.ShapeDtypeStruct((2, 5), jnp.int32)
    counts = []
    for layers in (2, 5):
        file, net = built(gpt(layers=layers), tmp_path / str(layers), tpu=True)
        counts.append(products(file.export(net, ids).mlir_module()))
    assert counts[0] == counts[1] == {("dot_general", "bf16", "bf16"): 9}


STEP = "block Step(width = 4):\n    in  x: f32[B, D]\n    out y: like x\n    y = {}\n\n"
MODEL = "model M(D = 6):\n    in  x: f32[B, D]\n    out y: f32[B, D]\n    h = x\n{}    y = h\n"


REFUSED = {
    "no loop": ("    h = h -> Step\n    h = h -> Step\n", "M has no loop"),
    "widths": ("    for width in [3, 5]:\n        h = h -> Step(width)\n", "width differs"),
    "a list": (
        "    seen = []\n    repeat 2:\n        h = h -> Step\n        seen += [h]\n"
        "    h = h + seen[0]\n",
        "what its turns make besides is used one by one",
    ),
    "a layer": ("    repeat 2:\n        h = h -> linear(D)\n", "not one call of a block each"),
    "more than a call": (
        "    for i in range(2):\n        h = x[i:i + 1] + (h -> Step)\n",
        "not one call of a block each",
    ),
    "numbers": ("    for i in range(2):\n        h = h -> Step(i + 3)\n", "width differs"),
}  # fmt: skip
"""By name: a loop, and why it is not scanned."""


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("style", [None, "functional"])
def test_what_cannot_be_scanned_is_refused(name: str, style: str | None) -> None:
    loop, why = REFUSED[name]
    text = STEP.format("x + (x -> linear(width) -> linear(D))") + MODEL.format(loop)
    with pytest.raises(MlcError, match=f"there is nothing to scan: .*{why}") as caught:
        emit(mlc.load(text), "net", scan_layers=True, style=style)
    assert caught.value.code == "unsupported"


def test_a_loop_that_stays_is_told_of_beside_one_that_is_scanned() -> None:
    scanned = "    repeat 2 as deep:\n        h = h -> Step(7)\n"
    text = STEP.format("x + (x -> linear(width) -> linear(D))") + MODEL.format(
        REFUSED["widths"][0] + scanned
    )
    made = emit(mlc.load(text), "net", scan_layers=True)
    (note,) = made.notes
    assert note == "the loop over blocks of M is not scanned: width differs from turn to turn"
    assert "self.deep = Stack(lambda rngs: Step(D, 7, rngs=rngs), 2, rngs=rngs)" in made.source


def test_loops_within_loops_are_stacks_in_a_list() -> None:
    """A stage without further blocks has an empty stack, which holds its place."""
    stages = [(8, 1, 3, 1, 1), (8, 3, 5, 2, 2)]
    made = emit(mlc.load(EXAMPLES / "efficientnet.mdl", stages=stages), "net", scan_layers=True)
    assert not made.notes
    entries = made.weight_map.entries
    stacked = {target: e.sources for target, e in entries.items() if "stacked" in target}
    places = {target.split(".")[1] for target in entries if target.startswith("blocks.")}
    assert places == {"0", "2", "3"}
    assert {target.split(".")[1] for target in stacked} == {"3"}
    sources = stacked["blocks.3.stacked.conv2.kernel"]
    assert sources == ("blocks.2.conv2.weight", "blocks.3.conv2.weight")
    rng = np.random.default_rng(0)
    graph = mlc.load(EXAMPLES / "efficientnet.mdl", stages=stages)
    tensors = {path: rng.normal(size=w.type.shape) for path, w in graph.weights.items()}
    again = made.weight_map.invert(made.weight_map.convert(tensors))
    assert again.keys() == tensors.keys()
    assert all(np.array_equal(again[path], tensors[path]) for path in tensors)
