"""JAX source in the functional style: models against the reference, and the text itself."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mlc
from mlc.backends.artefact import Artefact
from mlc.compiler.diagnose import MlcError
from mlc.compiler.graph import Graph
from mlc.compiler.tensor import write
from tests.backends import single
from tests.backends.models import MODELS
from tests.backends.settings import settings
from tests.backends.structures import STRUCTURES
from tests.backends.truth import Truth, draw, near, weights_of
from tests.proof import examples

GATED = """
block Gate(rate):
    in  x: f32[B, C]
    out y: f32[B, C]
    y = x * sigmoid(x -> linear(C) -> dropout(rate))
model Gated(n = 2, kind = 1):
    in  x: f32[B, 4]
    out y: f32[B, 4]
    h = x
    for i in range(n):
        if kind == 1:
            h = h -> batch_norm -> Gate(0.5)
        else:
            h = h -> Gate(0.5)
    y = h
"""

TEXTS = {
    **{name: MODELS[name] for name in ("branches", "state", "encoder")},
    **{name: STRUCTURES[name] for name in ("if_in_loop", "counted_without")},
    "gated": GATED,
}
SMALL = ("gpt", "tiny_resnet", "unet")


def compiled(graph: Graph) -> Artefact:
    return mlc.compile(graph, "jax", style="functional", name="net")


def graph_of(name: str) -> Graph:
    return mlc.load(TEXTS[name]) if name in TEXTS else examples.load(name)


class Built:
    """An emitted file with its weights, and how it is called in one mode."""

    def __init__(self, graph: Graph, folder: Path, training: bool) -> None:
        self.artefact = compiled(graph)
        self.weights, feed = weights_of(graph), draw(graph)
        self.module = single.load(self.artefact, folder)
        trees = self.module.build(single.written(self.artefact, self.weights, folder))
        self.trees = trees if isinstance(trees, tuple) else (trees,)
        self.feed = {
            port.argument: jnp.asarray(single.stored(feed[port.name], port.order))
            for port in self.artefact.interface.inputs
        }
        modal = "train" in inspect.signature(self.module.apply).parameters
        self.mode = {"train": training} if modal else {}
        self.truth = Truth(graph, self.weights, feed, training)

    def call(self, trees: Any, feed: Any, **options: Any) -> tuple[dict[str, Any], Any]:
        """Outputs by name, and the state after the call."""
        result = self.module.apply(*trees, **feed, **self.mode, **options)
        several = result if isinstance(result, tuple) else (result,)
        count = len(self.artefact.interface.outputs)
        names = [port.name for port in self.artefact.interface.outputs]
        return dict(zip(names, several[:count], strict=True)), several[count:]


@pytest.mark.parametrize("name", [*SMALL, *TEXTS])
def test_a_model_computes_and_learns_as_the_reference(name: str, tmp_path: Path) -> None:
    """Outputs, gradients by parameters and inputs, and the state after a call in training."""
    built = Built(graph_of(name), tmp_path, training=True)
    outputs = built.artefact.interface.outputs
    weighted = {
        port.name: single.stored(built.truth.cotangents[port.name], port.order)
        for port in outputs
        if port.name in built.truth.cotangents
    }
    floats = {n: x for n, x in built.feed.items() if jnp.issubdtype(x.dtype, jnp.floating)}
    others = {n: x for n, x in built.feed.items() if n not in floats}

    def loss(params: Any, floats: Any) -> Any:
        found, state = built.call((params, *built.trees[1:]), {**floats, **others})
        return sum(jnp.sum(found[n] * g) for n, g in weighted.items()), (found, state)

    step = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))
    (by_parameter, by_input), (found, state) = step(built.trees[0], floats)
    mapped = built.artefact.weight_map
    got = {("output", p.name): single.moved_back(np.array(found[p.name]), p.order) for p in outputs}
    for port in built.artefact.interface.inputs:
        if port.argument in by_input:
            array = np.array(by_input[port.argument])
            got["gradient", port.name] = single.moved_back(array, port.order)
    got |= {("gradient", n): x for n, x in mapped.gradients(flat(by_parameter)).items()}
    got |= {("update", n): x for tree in state for n, x in mapped.invert(flat(tree)).items()}
    for key, want in built.truth.compared(built.artefact).items():
        near(got[key], want, str(key), 2e-4 if key[0] == "gradient" else 1e-5, 0.1)


def flat(tree: Any) -> dict[str, np.ndarray]:
    """A tree's arrays by dotted path."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): np.array(x)
        for path, x in jax.tree.leaves_with_path(tree)
    }


@pytest.mark.parametrize("name", ["tiny_resnet", "nested", "unet"])
def test_every_setting_that_is_offered_is_right(name: str, tmp_path: Path) -> None:
    graph, others = settings(name)
    module = single.load(compiled(graph), tmp_path)
    start, called = (inspect.signature(f).parameters for f in (module.init, module.apply))
    keywords = {**start, **called}
    for parameter in keywords.values():
        kept = parameter.kind is not parameter.KEYWORD_ONLY or parameter.name in ("train", "key")
        if kept:
            continue
        value, other = others(parameter)
        given = {parameter.name: value}
        artefact, weights, feed = compiled(other), weights_of(other), draw(other)
        path = single.written(artefact, weights, tmp_path)
        trees = module.build(path, **(given if parameter.name in start else {}))
        trees = trees if isinstance(trees, tuple) else (trees,)
        ports = artefact.interface.inputs
        xs = [single.stored(feed[port.name], port.order) for port in ports]
        told = given if parameter.name in called else {}
        result = module.apply(*trees, *xs, **told)
        several = result if isinstance(result, tuple) else (result,)
        got = single.canonical(artefact, several[: len(artefact.interface.outputs)])
        truth = Truth(other, weights, feed, False)
        for array, (output, want) in zip(got, truth.outputs.items(), strict=True):
            near(array, want, f"{output} at {parameter.name} = {value}", 2e-5)


def test_dropout_draws_by_the_key(tmp_path: Path) -> None:
    built = Built(graph_of("gated"), tmp_path, training=True)
    keys = [jax.random.key(1), jax.random.key(1), jax.random.key(2)]
    one, same, other = (built.call(built.trees, built.feed, key=key)[0]["y"] for key in keys)
    without = built.call(built.trees, built.feed)[0]["y"]
    assert (one == same).all()
    assert (one != other).any()
    assert (one != without).any()


def test_what_is_given_stays_as_it_is(tmp_path: Path) -> None:
    """A call makes a new state; the parameters and the state that it is given are not changed."""
    built = Built(graph_of("tiny_resnet"), tmp_path, training=True)
    before = flat(built.trees)
    _, (after,) = built.call(built.trees, built.feed)
    assert flat(built.trees).keys() == before.keys()
    assert all((x == before[name]).all() for name, x in flat(built.trees).items())
    assert all((x != before[f"1.{name}"]).any() for name, x in flat(after).items())


def test_a_model_starts_as_the_language_says(tmp_path: Path) -> None:
    text = (
        "model M:\n    in x: f32[B, 64, H, W]\n    out y: f32[B, 256]\n"
        "    y = x -> conv(64, 3) -> mean(H, W) -> linear(256)\n"
    )
    params = single.load(compiled(mlc.load(text)), tmp_path).build(seed=3)
    for layer, fan in (("conv", 576), ("linear", 64)):
        for x in params[layer].values():
            assert 0.5 < float(jnp.abs(x).max()) * fan**0.5 <= 1
            assert float(x.std()) == pytest.approx(fan**-0.5 / 3**0.5, rel=0.2)


@pytest.mark.parametrize("fault", ["missing", "extra", "shape"])
def test_weights_that_do_not_fit_are_refused(fault: str, tmp_path: Path) -> None:
    text = (
        "model M:\n    in x: f32[B, 3]\n    out y: f32[B, 2]\n    y = x -> linear(2) -> batch_norm"
    )
    graph = mlc.load(f"{text}\n")
    artefact = compiled(graph)
    tensors = dict(artefact.weight_map.convert(weights_of(graph)))
    if fault == "missing":
        del tensors["batch_norm.mean"]
    elif fault == "extra":
        tensors["other"] = np.zeros(2, np.float32)
    else:
        tensors["batch_norm.mean"] = np.zeros(1, np.float32)
    path = tmp_path / "weights.safetensors"
    write(path, tensors)
    with pytest.raises(ValueError, match=r"does not fit the model: .*\('(batch_norm.mean|other)'"):
        single.load(artefact, tmp_path).build(path)


def test_verify_runs_the_functions(pool: Any, tmp_path: Path) -> None:
    """Dropout at its own rate, too; and a fault is found in the layer that has it."""
    from mlc.equivalence import verify

    graph = mlc.load(GATED)
    folder = compiled(graph).save(tmp_path)
    pool.start(["jax"])
    report = verify(graph, {"jax": folder}, pool=pool)
    report.assert_equivalent()
    kinds = {row.kind for row in report.rows}
    assert kinds >= {"output", "input gradient", "parameter gradient", "update", "dropout"}
    source = folder / "net.py"
    wrong = source.read_text().replace('"kernel"] + params', '"kernel"] + 1.001 * params')
    source.write_text(wrong)
    report = verify(graph, {"jax": folder}, pool=pool, modes=["inference"])
    assert report.exit_code == 1
    assert [finding.layer for finding in report.findings] == ["gate1.0.linear"]


def test_a_style_that_is_not_there_is_refused() -> None:
    graph = mlc.load(GATED)
    for target, style, message in (
        ("jax", "functionl", "jax has functional"), ("keras", "functional", "one style only"),
    ):  # fmt: skip
        with pytest.raises(MlcError, match=message):
            mlc.compile(graph, target, style=style)
    with pytest.raises(MlcError, match="not asked for"):
        mlc.verify(graph, ["keras"], style="functional")


# --------------------------------------------------------------------------- the file itself


def test_ruff_finds_nothing(tmp_path: Path) -> None:
    names = ("lenet", "gpt", "unet", "resnet18", "moe", "wavenet", "vae", "llama")
    for name in names:
        made = mlc.compile(examples.load(name), "jax", style="functional", name="net")
        (tmp_path / f"{name}.py").write_text(made.source)
        assert "from flax" not in made.source
        assert "nnx" not in made.source
    ruff = [str(Path(sys.executable).parent / "ruff"), "check", "--select=F,E,B,I"]
    options = ["--isolated", "--line-length=100", "--no-cache", "--output-format=concise"]
    done = subprocess.run([*ruff, *options, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_a_block_may_be_called_as_a_layer_is() -> None:
    text = """
block Linear(width):
    in  x: f32[B, C]
    out y: f32[B, width]
    y = x -> linear(width) -> layer_norm
block Norm:
    in  x: f32[B, C]
    out y: f32[B, C]
    y = x -> layer_norm
model Params(key = 3, state = 2):
    in  params: f32[B, 4]
    out y: f32[B, state]
    keys = params -> Linear(key) -> Norm()
    y = keys -> linear(state)
"""
    source = compiled(mlc.load(text)).source
    assert "def linear(params: Params, x: jax.Array)" in source
    assert "def linear_layer(params: Params, x: jax.Array)" in source
    assert "def init_norm_layer(features: int)" in source
    assert "def init(key: jax.Array, *, key_: int = 3, state_: int = 2)" in source
    assert "def apply(params: Params, params_: jax.Array)" in source
