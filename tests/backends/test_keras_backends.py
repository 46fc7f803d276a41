"""Keras files on each backend of Keras: outputs, gradients and buffers against the reference."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlc.backends.artefact import Artefact
from mlc.backends.keras import emit
from mlc.compiler.graph import Graph
from mlc.compiler.tensor import write
from mlc.frontends.mdl import load
from tests.backends import single
from tests.backends.settings import EXAMPLES
from tests.backends.test_keras_models import ALL, SMALL
from tests.backends.truth import Truth, draw, near, weights_of

ROOT = Path(__file__).parents[2]
NAMES = [
    "mnist", "lenet", "tiny_resnet", "gpt", "encoder", "windows", "average", "picture", "masked",
    "places",
]  # fmt: skip
"""The examples, and models with what is written in layers of the file's own."""


NEAR = 1e-5
"""In float64, but for batch norms: Keras computes them in float32 on JAX and PyTorch. A gradient
that is zero is so to this share of a tenth of the model's largest."""

SETTINGS = {
    "OMP_NUM_THREADS": "1", "JAX_ENABLE_X64": "1", "TF_CPP_MIN_LOG_LEVEL": "3",
    "XLA_FLAGS": "--xla_backend_optimization_level=0",
}  # fmt: skip


class Job:
    """One model: its artefact, what it is fed, and what it must give in each mode."""

    def __init__(self, name: str, folder: Path) -> None:
        text = ALL[name] if name in ALL else (EXAMPLES / f"{name}.mdl").read_text()
        self.name = name
        self.graph: Graph = load(text, name, params=SMALL.get(name, {}))
        self.artefact: Artefact = emit(self.graph, name)
        self.artefact.save(folder)
        weights, feed = weights_of(self.graph), draw(self.graph)
        write(folder / f"{name}.safetensors", dict(self.artefact.weight_map.convert(weights)))
        self.truth = Truth(self.graph, weights, feed, training=True)
        self.inferred = Truth(self.graph, weights, feed, training=False).outputs
        self.inputs = self.artefact.interface.inputs
        self.outputs = self.artefact.interface.outputs
        arrays = {f"in {p.name}": single.stored(feed[p.name], p.order) for p in self.inputs}
        arrays |= {
            f"by {p.name}": single.stored(self.truth.cotangents[p.name], p.order)
            for p in self.outputs
            if p.name in self.truth.cotangents
        }
        wide = {k: x.astype(np.float64) if x.dtype.kind == "f" else x for k, x in arrays.items()}
        np.savez(folder / f"{name}.npz", **wide)

    def told(self) -> dict[str, Any]:
        """The job as the runner takes it."""
        return {
            "name": self.name, "folder": self.artefact.folder, "arrays": f"{self.name}.npz",
            "weights": f"{self.name}.safetensors", "inputs": [p.name for p in self.inputs],
            "outputs": [p.name for p in self.outputs],
        }  # fmt: skip

    def check(self, folder: Path) -> None:
        """Holds what the runner found to the reference."""
        found = dict(np.load(folder / f"{self.name}_found.npz"))
        for port in self.outputs:
            got = single.moved_back(found[f"inference {port.name}"], port.order)
            near(got, self.inferred[port.name], f"{port.name} of {self.name}", NEAR)
        got = {("output", p.name): single.moved_back(found[f"output {p.name}"], p.order)
               for p in self.outputs}  # fmt: skip
        got |= {("gradient", p.name): single.moved_back(found[f"gradient {p.name}"], p.order)
                for p in self.inputs if f"gradient {p.name}" in found}  # fmt: skip
        for kind, back in (("gradient", "gradients"), ("update", "invert")):
            own = {key.partition(" ")[2]: x for key, x in found.items() if key.startswith(kind)}
            held = {k: x for k, x in own.items() if k in self.artefact.weight_map.entries}
            canonical = getattr(self.artefact.weight_map, back)(held)
            got |= {(kind, path): x for path, x in canonical.items()}
        wanted = self.truth.compared(self.artefact)
        slopes = [float(abs(x).max()) for (kind, _), x in wanted.items() if kind == "gradient"]
        floors = {"gradient": max([0.01, *slopes]) / 10}
        for key, want in wanted.items():
            if key in got:
                near(got[key], want, f"{key} of {self.name}", NEAR, floors.get(key[0], 1e-3))
            else:
                assert key[0] == "gradient" and not want.any(), key


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Job]]:
    folder = tmp_path_factory.mktemp("keras")
    made = [Job(name, folder) for name in NAMES]
    (folder / "jobs.json").write_text(json.dumps([job.told() for job in made]))
    return folder, made


@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_a_file_is_tied_to_no_backend(backend: str, jobs: tuple[Path, list[Job]]) -> None:
    folder, made = jobs
    done = subprocess.run(
        [sys.executable, "-m", "tests.backends.keras_runner", str(folder)],
        env={**os.environ, **SETTINGS, "KERAS_BACKEND": backend},
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    for job in made:
        job.check(folder)
