"""Files of weights from one framework's names and layouts to another's.

    mlc.weights.convert("trained.safetensors", side("pytorch", graph), side("keras", graph), "out")

A tensor passes through memory at a time: the file is mapped, and what is written is computed when
its turn comes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .compiler.diagnose import MlcError
from .request import artefact, did_you_mean

if TYPE_CHECKING:
    from .compiler.graph import Graph
    from .compiler.tensor import Array, Tensors
    from .compiler.weight import Form, WeightMap

SOURCE = "source"
"""What stands for the model's own names and layouts where a target could stand."""


@dataclass(frozen=True)
class Side:
    """Whose names and layouts weights have: `name` says whose in messages.

    `map` leads to them from the model's own, whose forms are `own`; it is the same for both sides.
    """

    name: str
    map: WeightMap
    own: Mapping[str, Form]

    @property
    def forms(self) -> dict[str, Form]:
        """The dtype and shape of each tensor of a file of this side."""
        return self.map.forms({path: self.own[path] for path in self.map.sources})


def side(name: str, graph: Graph | None = None, *, keep_layout: bool = False) -> Side:
    """The side called `name`: a target, `source`, or a folder that `mlc compile` wrote.

    Of the first two, `graph` is the model; `usage` where it lacks, `target` for an unknown name.
    """
    from .backends import TARGETS
    from .compiler.weight import Entry, WeightMap, forms

    if name not in (*TARGETS, SOURCE):
        return _folder(name)
    if graph is None:
        text = f"the names of {name} depend on the model, and none is given"
        help = "mlc weights convert MODEL.mdl FILE ..., or name a folder that mlc compile wrote"
        raise MlcError("usage", text, help=help)
    if name == SOURCE:
        own = forms(graph.weights)
        return Side("the model", WeightMap([Entry(path, (path,)) for path in own]), own)
    made = artefact(graph, name, None, None, keep_layout)
    return Side(f"the {name} model", made.weight_map, made.forms)


def _folder(name: str) -> Side:
    """The side of a folder that `mlc compile` wrote."""
    from .backends import TARGETS
    from .backends.artefact import read_manifest
    from .compiler.weight import WeightMap

    if not Path(name).is_dir():
        text = f"{name!r} is no target, nor {SOURCE}, nor a folder that mlc compile wrote"
        raise MlcError("target", text, help=did_you_mean(name, [*TARGETS, SOURCE]))
    manifest = read_manifest(name)
    if "tensors" not in manifest:
        text = f"{name} was written by an older mlc, and does not say the shapes of its tensors"
        raise MlcError("output", text, help="compile the model again")
    own = {path: (dtype, tuple(shape)) for path, (dtype, *shape) in manifest["tensors"].items()}
    return Side(name, WeightMap.from_json(manifest["weights"]), own)


def convert(file: str | Path | Tensors, source: Side, target: Side, output: str | Path) -> int:
    """Writes the weights of `file`, which are as `source` has them, as `target` has them.

    `file` is a safetensors file, and `output` becomes one, at once when all of it is written.
    Returns the number of tensors written. Nothing may lack or be left over: `weights-key`,
    `weights-shape` and `weights-dtype` name each difference, and `weights-tied` copies of one
    tensor that differ. Counters of batches and states of random generators are left out.
    """
    from .compiler.tensor import read
    from .compiler.weight import compare, fit

    if source.own != target.own:
        compare(source.own, target.own, source.name, target.name)
    for path in target.map.sources:
        if path not in source.map.sources:
            text = f"{source.name} does not hold {path}, which {target.name} needs"
            raise MlcError("weights-key", text)
    tensors = read(file) if isinstance(file, (str, Path)) else file
    wanted = source.forms
    if not tensors.places.keys() & wanted.keys() and target.forms.keys() <= tensors.places.keys():
        text = f"{tensors.path} has the names of {target.name}, not those of {source.name}"
        raise MlcError("weights-key", text, help="exchange --from and --to")
    tensors = fit(tensors, wanted, source.name)
    converted = target.map.convert(source.map.canonical(tensors))
    _write(Path(output), converted, target.forms)
    return len(converted)


def _write(output: Path, tensors: Mapping[str, Array], forms: Mapping[str, Form]) -> None:
    """Puts a file in place in one step; one that holds anything but tensors is not replaced."""
    from .compiler.tensor import read, write

    place = output.resolve()
    if place.exists():
        try:
            read(place)
        except MlcError as error:
            text = f"{output} is there already, and no file of tensors"
            raise MlcError("output", text, help="choose another one with -o") from error
    fresh = place.with_name(f".{place.name}.{os.urandom(4).hex()}")
    try:
        try:
            write(fresh, tensors, forms)
            fresh.replace(place)
        finally:
            fresh.unlink(missing_ok=True)
    except OSError as error:
        raise MlcError("output", f"cannot write {output}: {error.strerror or error}") from error
