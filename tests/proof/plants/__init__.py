"""The faults of the catalogue as edits of emitted files: a table for each target, by their names.

Source is edited in its syntax tree: an expression is put in the place of another, and what it calls
stands behind the imports. ONNX files are edited as protobuf messages.
"""

from __future__ import annotations

from collections.abc import Mapping

from tests.proof.plants.jax import JAX
from tests.proof.plants.keras import KERAS
from tests.proof.plants.loader import loaders
from tests.proof.plants.openvino import OPENVINO
from tests.proof.plants.plant import Plant
from tests.proof.plants.pytorch import PYTORCH

SOURCE: Mapping[str, Mapping[str, Plant]] = {
    "pytorch": PYTORCH | loaders(spatial=(2, 3), channels=1, rows=0),
    "keras": KERAS | loaders(spatial=(0, 1), channels=2, rows=-1),
    "jax": JAX | loaders(spatial=(0, 1), channels=2, rows=-1),
    "openvino": OPENVINO | loaders(spatial=(2, 3), channels=1, rows=0),
}
"""Target -> fault -> the edit of its source."""
