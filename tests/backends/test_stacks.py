"""JAX source with `scan_layers`: equal blocks as one whose weights are stacked, and a scan."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
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
    assert "self.layers = stack(lambda rngs: Layer(D, heads, rngs=rngs), layers, rngs)" in text
    assert "scan(self.layers, h)" in text
    assert "nnx.List" not in text
    assert "for layer in" not in text


def test_the_weights_of_a_stack_are_one_tensor_each() -> None:
    weight_map = emit(gpt(layers=3), "net", scan_layers=True).weight_map
    entry = weight_map.entries["layers.linear1.kernel"]
    assert entry.sources == tuple(f"layers.{i}.linear1.weight" for i in range(3))
    assert (entry.steps[-1].kind, entry.steps[-1].args) == ("stack", (3,))
    assert not any("layers.0" in target for target in weight_map.entries)


def test_slices_and_lists_of_a_loop_go_along_with_its_layers() -> None:
    text = emit(mlc.load(EXAMPLES / "llama.mdl"), "net", scan_layers=True).source
    caches = "(past_keys, past_values), cosine, sine)"
    assert f"h, all_keys, all_values = scan_each(self.layers, h, {caches}" in text
    assert "return self.linear(self.rms_norm(h)), all_keys, all_values" in text
    assert "def scan(" not in text


def test_a_program_does_not_grow_with_its_layers(tmp_path: Path) -> None:
    ids = jax.ShapeDtypeStruct((2, 5), jnp.int32)
    counts = []
    for layers in (2, 5):
        file, net = built(gpt(layers=layers), tmp_path / str(layers), tpu=True)
        counts.append(products(file.export(net, ids).mlir_module()))
    assert counts[0] == counts[1] == {("dot_general", "bf16", "bf16"): 9}


STEP = "block Step(width = 4):\n    in  x: f32[B, D]\n    out y: like x\n    y = {}\n\n"
MODEL = "model M(D = 6):\n    in  x: f32[B, D]\n    out y: f32[B, D]\n    h = x\n{}    y = h\n"


@pytest.mark.parametrize(
    "loop",
    [
        "    h = h -> Step\n    h = h -> Step\n",
        "    for width in [3, 5]:\n        h = h -> Step(width)\n",
        "    seen = []\n    repeat 2:\n        h = h -> Step\n        seen += [h]\n"
        "    h = h + seen[0]\n",
        "    repeat 2:\n        h = h -> linear(D)\n",
        "    for i in range(2):\n        h = x[i:i + 1] + (h -> Step)\n",
        "    for i in range(2):\n        h = h -> Step(i + 3)\n",
    ],
    ids=["no loop", "widths", "a list", "a layer", "more than a call", "numbers"],
)
def test_what_cannot_be_scanned_is_refused(loop: str) -> None:
    text = STEP.format("x + (x -> linear(width) -> linear(D))") + MODEL.format(loop)
    with pytest.raises(MlcError, match="has no loop of equal blocks") as caught:
        emit(mlc.load(text), "net", scan_layers=True)
    assert caught.value.code == "unsupported"
