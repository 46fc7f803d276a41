"""OpenVINO's IR: what the emitted source builds, saved by a process that has OpenVINO."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from ...compiler.diagnose import MlcError
from .. import TARGETS
from ..artefact import WEIGHTS, Artefact

if TYPE_CHECKING:
    from ...compiler.tensor import Array

SAVE = """
import sys
from importlib import import_module
from pathlib import Path

import openvino as ov

folder, weights, file = map(Path, sys.argv[1:])
sys.path.insert(0, str(folder.parent))
model = import_module(folder.name).build(*[weights] * weights.exists())
ov.save_model(model, file, compress_to_fp16=False)
"""
"""Imports the folder, builds the model and saves it; by default weights would become f16."""


def with_ir(artefact: Artefact, weights: Mapping[str, Array]) -> Artefact:
    """The artefact with `<name>.xml` and `<name>.bin`: the model with these canonical weights.

    The emitted source is run, in a process of its own. Raises MlcError `engine` where the package
    openvino is missing, or that process fails.
    """
    if not TARGETS["openvino"].installed:
        text = "writing OpenVINO's IR takes the package openvino, which is not installed"
        raise MlcError("engine", text, help=f"pip install '{TARGETS['openvino'].extra}'")
    with TemporaryDirectory(prefix="mlc_") as directory:
        folder = artefact.with_weights(weights).save(directory)
        file = Path(directory) / f"{artefact.name}.xml"
        _run([str(folder), str(folder / WEIGHTS), str(file)])
        made = {each.name: each.read_bytes() for each in (file, file.with_suffix(".bin"))}
    return replace(artefact, files={**artefact.files, **made})


def _run(arguments: list[str]) -> None:
    """Runs `SAVE`; MlcError `engine`, with the last line that it wrote, where it fails."""
    command = [sys.executable, "-P", "-c", SAVE, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise MlcError("engine", f"the process that writes OpenVINO's IR failed: {last}")
