"""The weights of a model: those of a file against those of the graph, and against a target's.

A `WeightMap` says how a target's tensors come from the canonical ones (those of the graph, in
PyTorch's names and layouts); every step is linear, and knows its inverse and what it does to
gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from .diagnose import MlcError, MlcErrors
from .graph import Weight
from .step import STEPS, Kind, Shape, Step
from .tensor import Tensors, read

if TYPE_CHECKING:
    from .tensor import Array

__all__ = [
    "Canonical", "Converted", "Entry", "Form", "Step", "WeightMap", "check", "fit", "forms", "load",
]  # fmt: skip

# --------------------------------------------------------------------------------- checking

Form: TypeAlias = "tuple[str, Shape]"
"""The dtype and shape of a tensor."""


def forms(weights: Mapping[str, Weight]) -> dict[str, Form]:
    """The form of each of a graph's weights, whose sizes are all numbers."""
    return {
        path: (weight.type.dtype, tuple(n for n in weight.type.shape if isinstance(n, int)))
        for path, weight in weights.items()
    }


def load(path: str | Path, weights: Mapping[str, Weight]) -> Tensors:
    """The tensors of a file that must hold just `weights`; raises as `read` and `fit` do."""
    return fit(read(path), forms(weights))


def fit(tensors: Tensors, wanted: Mapping[str, Form], model: str = "the model") -> Tensors:
    """The tensors less what is no weight, which must be just those wanted; raises as `check`.

    A batch norm's counter of batches, as PyTorch saves it, and states of random generators are
    left out: no weight of a model depends on them.
    """
    places = {
        key: place
        for key, place in tensors.places.items()
        if not is_state(key, place.dtype, wanted)
    }
    found = {key: (place.dtype, place.shape) for key, place in places.items()}
    compare(found, wanted, str(tensors.path), model)
    return Tensors(tensors.path, places)


def is_state(key: str, dtype: str, wanted: Mapping[str, Any]) -> bool:
    """Whether it is what a layer counts or draws with, and no value of the model."""
    if key in wanted:
        return False
    layer, _, part = key.rpartition(".")
    counter = part == "num_batches_tracked" and f"{layer}.running_mean" in wanted
    return counter or key.endswith("/seed_generator_state") or dtype == "u32"


def check(found: Mapping[str, Form], weights: Mapping[str, Weight], name: str) -> None:
    """Raises unless `found` is what `weights` says, as `compare` does."""
    compare(found, forms(weights), name)


def compare(
    found: Mapping[str, Form],
    wanted: Mapping[str, Form],
    name: str,
    model: str = "the model",
) -> None:
    """Raises unless the forms of both are the same, naming every difference.

    `weights-key` for a missing or an extra key, with the nearest one; `weights-shape` and
    `weights-dtype` with both sides. `name` is what `found` is of, and `model` what `wanted` is of.
    """
    errors = [*_check_keys(found, wanted, name, model)]
    for key in (key for key in wanted if key in found):
        (dtype, shape), (kind, sizes) = found[key], wanted[key]
        if shape != sizes:
            text = f"{name} has {_show(shape)}, {model} wants {_show(sizes)}"
            errors.append(MlcError("weights-shape", f"the shape of {key} differs: {text}"))
        elif dtype != kind:
            text = f"{name} has {dtype}, {model} wants {kind}"
            errors.append(MlcError("weights-dtype", f"the dtype of {key} differs: {text}"))
    if errors:
        raise errors[0] if len(errors) == 1 else MlcErrors(errors)


def _check_keys(
    found: Mapping[str, Any], wanted: Mapping[str, Any], name: str, model: str
) -> Iterator[MlcError]:
    missing = [key for key in wanted if key not in found]
    extra = [key for key in found if key not in wanted]
    for key in missing:
        text = f"{name} has no tensor {key!r} for {model}'s weight of that name"
        yield MlcError("weights-key", text, help=nearest(key, extra, "the file has"))
    for key in extra:
        text = f"{name} has a tensor {key!r}, and {model} no such weight"
        yield MlcError("weights-key", text, help=nearest(key, missing, f"{model} has"))


def nearest(key: str, others: Sequence[str], whose: str) -> str | None:
    """`whose` with the key that is most like this one, if one is."""
    from difflib import get_close_matches

    near = get_close_matches(key, others, n=1, cutoff=0.5)
    return f"{whose} {near[0]!r}" if near else None


def _show(shape: Sequence[Any]) -> str:
    return f"[{', '.join(map(str, shape))}]"


# --------------------------------------------------------------------------------- the map


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor of the target: the canonical tensors that it comes from, and the steps to it."""

    target: str
    sources: tuple[str, ...]
    steps: tuple[Step, ...] = ()

    def convert(self, tensors: Mapping[str, Array]) -> Array:
        """The target's tensor, from canonical ones."""
        parts = [tensors[source] for source in self.sources]
        for step in self.steps:
            parts = STEPS[step.kind].apply(parts, *step.args)
        (result,) = parts
        return result

    def form(self, given: Mapping[str, Form]) -> Form:
        """The form of the target's tensor; `weights-shape` where a step does not fit a source."""
        shapes = [given[source][1] for source in self.sources]
        try:
            for step in self.steps:
                shapes = STEPS[step.kind].shape(shapes, *step.args)
            (shape,) = shapes
        except (ValueError, TypeError, IndexError):
            sizes = ", ".join(f"{s} {_show(given[s][1])}" for s in self.sources)
            text = f"the steps of the weight map to {self.target} do not fit {sizes}"
            raise MlcError("weights-shape", text) from None
        return given[self.sources[0]][0], shape

    def invert(self, tensor: Array) -> dict[str, Array]:
        """The canonical tensors of a target's tensor, zero where it does not say."""
        return self._back(tensor, lambda kind: kind.invert)

    def cover(self, shape: Shape) -> dict[str, Array] | None:
        """What `invert` says of each canonical tensor, as masks; None for all of all."""
        if all(step.kind != "take" for step in self.steps):
            return None
        import numpy as np

        return self._back(np.ones(shape, bool), lambda kind: kind.cover or kind.invert)

    def gradients(self, gradient: Array) -> dict[str, Array]:
        """What a gradient by the target's tensor adds to those by the canonical ones."""
        return self._back(gradient, lambda kind: kind.transpose)

    def _back(self, tensor: Array, way: Callable[[Kind], Callable[..., Any]]) -> dict[str, Array]:
        parts = [tensor]
        for step in reversed(self.steps):
            parts = way(STEPS[step.kind])(parts, *step.args)
        return dict(zip(self.sources, parts, strict=True))


class Converted(Mapping[str, "Array"]):
    """The target's tensors, each computed when it is asked for."""

    def __init__(self, entries: Mapping[str, Entry], tensors: Mapping[str, Array]) -> None:
        self.entries = entries
        self.tensors = tensors

    def __getitem__(self, key: str) -> Array:
        return self.entries[key].convert(self.tensors)

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)


class Canonical(Mapping[str, "Array"]):
    """The canonical tensors of a target's, each computed when it is asked for.

    Raises `weights-tied` where a tensor has several copies that differ, and `weights-key` where the
    target's tensors leave a part of it open.
    """

    def __init__(self, entries: Mapping[str, Entry], tensors: Mapping[str, Array]) -> None:
        self.entries = entries
        self.tensors = tensors

    @cached_property
    def homes(self) -> Mapping[str, Sequence[Entry]]:
        """Canonical path -> the entries that it goes into."""
        homes: dict[str, list[Entry]] = {}
        for entry in self.entries.values():
            for source in entry.sources:
                homes.setdefault(source, []).append(entry)
        return homes

    def __getitem__(self, key: str) -> Array:
        first, *others = self.homes[key]
        whole, known = self._part(first, key)
        for entry in others:
            part, mask = self._part(entry, key)
            if not _agree(whole, known, part, mask):
                raise MlcError("weights-tied", f"{entry.target} and another copy of {key} differ")
            if known is not None:
                whole, known = _merged(whole, known, part, mask)
        if known is not None and not known.all():
            text = f"{', '.join(e.target for e in self.homes[key])} are not all of {key}"
            raise MlcError("weights-key", text)
        return whole

    def _part(self, entry: Entry, key: str) -> tuple[Array, Array | None]:
        """The tensor as one entry has it, and where it says anything: None for everywhere."""
        tensor = self.tensors[entry.target]
        known = entry.cover(tensor.shape)
        mask = None if known is None or known[key].all() else known[key]
        return entry.invert(tensor)[key], mask

    def __iter__(self) -> Iterator[str]:
        return iter(self.homes)

    def __len__(self) -> int:
        return len(self.homes)


def _agree(a: Array, known: Array | None, b: Array, mask: Array | None) -> bool:
    """Whether two parts of one tensor are equal where both say something."""
    if known is not None and mask is not None:
        known = known & mask
    both = known if known is not None else mask
    return _equal(a, b) if both is None else _equal(a[both], b[both])


def _merged(
    whole: Array, known: Array, part: Array, mask: Array | None
) -> tuple[Array, Array | None]:
    """Both parts of a tensor, and where the two say something."""
    import numpy as np

    if mask is None:
        return part, None
    return np.where(known, whole, part), known | mask


class WeightMap:
    """How the tensors of a target come from the canonical ones: an entry for each, in its order."""

    def __init__(self, entries: Sequence[Entry] = ()) -> None:
        self.entries: Mapping[str, Entry] = {entry.target: entry for entry in entries}
        if len(self.entries) != len(entries):
            raise ValueError("two entries of a weight map have one target")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, WeightMap) and self.entries == other.entries

    __hash__ = None  # type: ignore[assignment]

    @property
    def sources(self) -> dict[str, None]:
        """The canonical paths that the target's tensors come from."""
        return dict.fromkeys(s for entry in self.entries.values() for s in entry.sources)

    def forms(self, given: Mapping[str, Form]) -> dict[str, Form]:
        """The form of each of the target's tensors, from those of the canonical ones."""
        return {target: entry.form(given) for target, entry in self.entries.items()}

    def convert(self, tensors: Mapping[str, Array]) -> Mapping[str, Array]:
        """Canonical tensors to the target's, lazily; KeyError names a canonical one that lacks."""
        return Converted(self.entries, tensors)

    def canonical(self, tensors: Mapping[str, Array]) -> Mapping[str, Array]:
        """The target's tensors, or some of them, to canonical ones, lazily, as `Canonical` says."""
        return Canonical({target: self._entry(target) for target in tensors}, tensors)

    def invert(self, tensors: Mapping[str, Array]) -> dict[str, Array]:
        """As `canonical`, at once."""
        return dict(self.canonical(tensors))

    def gradients(self, gradients: Mapping[str, Array]) -> dict[str, Array]:
        """Gradients by the target's tensors to gradients by canonical ones, summed where tied."""
        result: dict[str, Array] = {}
        for target, gradient in gradients.items():
            for source, part in self._entry(target).gradients(gradient).items():
                result[source] = result[source] + part if source in result else part
        return result

    def _entry(self, target: str) -> Entry:
        if target not in self.entries:
            help = nearest(target, list(self.entries), "the map has")
            raise MlcError("weights-key", f"the weight map has no tensor {target!r}", help=help)
        return self.entries[target]

    def to_json(self) -> dict[str, Any]:
        """Target -> {"from": [canonical path], "steps": [[kind, args]]}."""
        return {
            entry.target: {
                "from": list(entry.sources),
                "steps": [[step.kind, *step.args] for step in entry.steps],
            }
            for entry in self.entries.values()
        }

    @classmethod
    def from_json(cls, table: Mapping[str, Any]) -> WeightMap:
        """The map that `to_json` wrote."""
        return cls(
            [
                Entry(
                    target,
                    tuple(row["from"]),
                    tuple(Step(kind, tuple(map(_tuple, args))) for kind, *args in row["steps"]),
                )
                for target, row in table.items()
            ]
        )


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _equal(a: Array, b: Array) -> bool:
    import numpy as np

    return bool(np.array_equal(a, b, equal_nan=a.dtype.kind == "f"))
