"""OpenVINO's IR: it computes what the source does, and is written all or nothing."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest

import mlc
from mlc.backends.openvino import ir
from mlc.cli import main
from mlc.compiler.init import initialise
from tests.backends.models import MODELS
from tests.backends.test_openvino import call
from tests.backends.truth import draw, weights_of

TEXT = "model M:\n    in x: f32[B, 3]\n    out y: f32[B, 2]\n    y = x -> linear(2)\n"


@pytest.mark.parametrize("name", ["state", "cross"])
def test_it_computes_what_the_source_builds(name: str, tmp_path: Path) -> None:
    graph = mlc.load(MODELS[name])
    weights, feed = weights_of(graph), draw(graph)
    artefact = mlc.compile(graph, "openvino", weights, name="net", ir=True)
    folder = artefact.save(tmp_path)
    read, built = ov.Core().read_model(folder / "net.xml"), artefact.build()
    assert [port.names for port in read.inputs] == [port.names for port in built.inputs]
    assert [port.names for port in read.outputs] == [port.names for port in built.outputs]
    feeds = [feed[port.name] for port in artefact.interface.inputs]
    feeds += [weights[port.any_name] for port in built.inputs[len(feeds) :]]
    for got, want in zip(call(read, feeds), call(built, feeds), strict=True):
        np.testing.assert_array_equal(got, want)


def test_without_weights_it_has_starting_values(tmp_path: Path) -> None:
    graph = mlc.load(TEXT)
    folder = mlc.compile(graph, "openvino", name="net", ir=True).save(tmp_path)
    start = initialise(graph)
    (found,) = call(ov.Core().read_model(folder / "net.xml"), [np.eye(3, dtype=np.float32)])
    want = start["linear.weight"].T + start["linear.bias"]
    np.testing.assert_allclose(found, want, rtol=0, atol=1e-6)
    assert not (folder / "weights.safetensors").exists()
    assert "`net.xml` and `net.bin`: the model" in (folder / "README.md").read_text()


def test_a_model_without_weights_has_one(tmp_path: Path) -> None:
    text = "model M:\n    in x: f32[B, 3]\n    out y: f32[B, 3]\n    y = relu(x)\n"
    folder = mlc.compile(mlc.load(text), "openvino", name="net", ir=True).save(tmp_path)
    x = np.float32([[-1, 0, 2]])
    np.testing.assert_array_equal(
        call(ov.Core().read_model(folder / "net.xml"), [x])[0], [[0, 0, 2]]
    )


def test_without_openvino_the_error_names_what_installs_it(
    tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    (tmp_path / "net.mdl").write_text(TEXT)
    arguments = ["compile", str(tmp_path / "net.mdl"), "-t", "openvino", "-o", str(tmp_path)]
    assert main(arguments) == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "net_openvino").iterdir()}
    find = importlib.util.find_spec
    without = {"openvino": None}
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: without[name] if name in without else find(name)
    )
    assert main([*arguments, "--ir"]) == 3
    assert "mlc[openvino]" in capsys.readouterr().err
    after = {path.name: path.read_bytes() for path in (tmp_path / "net_openvino").iterdir()}
    assert after == before


def test_a_process_that_fails_is_reported_by_its_last_line(monkeypatch: Any) -> None:
    monkeypatch.setattr(ir, "SAVE", "raise ValueError('no such op')")
    with pytest.raises(mlc.MlcError, match="failed: ValueError: no such op") as caught:
        mlc.compile(mlc.load(TEXT), "openvino", ir=True)
    assert caught.value.code == "engine"


@pytest.mark.parametrize("more", [["-t", "keras"], ["-t", "openvino", "-o", "-"]])
def test_it_is_refused_where_there_is_none_to_write(
    tmp_path: Path, more: list[str], capsys: Any
) -> None:
    (tmp_path / "net.mdl").write_text(TEXT)
    assert main(["compile", str(tmp_path / "net.mdl"), "--ir", *more]) == 2
    assert "--ir" in capsys.readouterr().err
    with pytest.raises(mlc.MlcError, match="only openvino has an IR"):
        mlc.compile(mlc.load(TEXT), "pytorch", ir=True)
