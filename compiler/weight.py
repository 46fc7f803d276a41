"""The weights of a model: those of a file against those of the graph, and against a target's.

A `WeightMap` says how a target's tensors come from the canonical ones (those of the graph, in
PyTorch's names and layouts); every step is linear, and knows its inverse and what it does to
gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .diagnose import MlcError, MlcErrors
from .graph import Weight
from .tensor import Tensors, read

if TYPE_CHECKING:
    from .tensor import Array

# --------------------------------------------------------------------------------- checking


def load(path: str | Path, weights: Mapping[str, Weight]) -> Tensors:
    """The tensors of a file that must hold just `weights`; raises as `read` and `check` do."""
    tensors = read(path)
    counters = {key for key in tensors if _is_counter(key, weights)}
    places = {key: place for key, place in tensors.places.items() if key not in counters}
    tensors = Tensors(tensors.path, places)
    check({key: (p.dtype, p.shape) for key, p in tensors.places.items()}, weights, str(path))
    return tensors


def _is_counter(key: str, weights: Mapping[str, Weight]) -> bool:
    """Whether it counts a batch norm's batches, as PyTorch saves it; no value depends on it."""
    layer, _, part = key.rpartition(".")
    return part == "num_batches_tracked" and f"{layer}.running_mean" in weights


def check(
    found: Mapping[str, tuple[str, tuple[int, ...]]], weights: Mapping[str, Weight], name: str
) -> None:
    """Raises unless `found` (path -> dtype, shape) is what `weights` says, naming every difference.

    `weights-key` for a missing or an extra path, with the nearest one; `weights-shape` and
    `weights-dtype` with both sides.
    """
    errors = [*_check_keys(found, weights, name)]
    for key in (key for key in weights if key in found):
        (dtype, shape), wanted = found[key], weights[key].type
        if shape != wanted.shape:
            sizes = f"{name} has {_show(shape)}, the model wants {_show(wanted.shape)}"
            errors.append(MlcError("weights-shape", f"the shape of {key} differs: {sizes}"))
        elif dtype != wanted.dtype:
            types = f"{name} has {dtype}, the model wants {wanted.dtype}"
            errors.append(MlcError("weights-dtype", f"the dtype of {key} differs: {types}"))
    if errors:
        raise errors[0] if len(errors) == 1 else MlcErrors(errors)


def _check_keys(
    found: Mapping[str, Any], weights: Mapping[str, Weight], name: str
) -> Iterator[MlcError]:
    missing = [key for key in weights if key not in found]
    extra = [key for key in found if key not in weights]
    for key in missing:
        text = f"{name} has no tensor {key!r} for the model's weight of that name"
        yield MlcError("weights-key", text, help=_nearest(key, extra, "the file has"))
    for key in extra:
        text = f"{name} has a tensor {key!r}, and the model no such weight"
        yield MlcError("weights-key", text, help=_nearest(key, missing, "the model has"))


def _nearest(key: str, others: Sequence[str], whose: str) -> str | None:
    from difflib import get_close_matches

    near = get_close_matches(key, others, n=1, cutoff=0.5)
    return f"{whose} {near[0]!r}" if near else None


def _show(shape: Sequence[Any]) -> str:
    return f"[{', '.join(map(str, shape))}]"


# --------------------------------------------------------------------------------- the map


@dataclass(frozen=True, slots=True)
class Step:
    """One linear step on a tensor, or on several; `args` are ints or tuples of ints.

    permute  (axes)          axis i of the result is axis axes[i], as in NumPy's transpose
    reshape  (before, after) both shapes, so that it can be inverted
    flip     (axes)          reverses these axes
    concat   (axis, sizes)   joins the tensors, whose sizes along `axis` are `sizes`, to one
    """

    kind: str
    args: tuple[Any, ...]

    def __post_init__(self) -> None:
        if self.kind not in STEPS:
            raise ValueError(f"{self.kind} is no step of a weight map")


@dataclass(frozen=True, slots=True)
class Kind:
    """What a kind of step does to a list of tensors, and what undoes it.

    `transpose` is the transpose of the linear map: how a gradient goes back. All three take the
    tensors and the step's args.
    """

    apply: Callable[..., list[Any]]
    invert: Callable[..., list[Any]]
    transpose: Callable[..., list[Any]]


def _permute(tensors: list[Any], *axes: int) -> list[Any]:
    return [x.transpose(axes) for x in tensors]


def _unpermute(tensors: list[Any], *axes: int) -> list[Any]:
    return _permute(tensors, *(axes.index(i) for i in range(len(axes))))


def _reshape(tensors: list[Any], before: tuple[int, ...], after: tuple[int, ...]) -> list[Any]:
    del before
    return [x.reshape(after) for x in tensors]


def _unreshape(tensors: list[Any], before: tuple[int, ...], after: tuple[int, ...]) -> list[Any]:
    return _reshape(tensors, after, before)


def _flip(tensors: list[Any], *axes: int) -> list[Any]:
    import numpy as np

    return [np.flip(x, axes) for x in tensors]


def _concat(tensors: list[Any], axis: int, sizes: tuple[int, ...]) -> list[Any]:
    import numpy as np

    del sizes
    return [np.concatenate(tensors, axis)]


def _unconcat(tensors: list[Any], axis: int, sizes: tuple[int, ...]) -> list[Any]:
    import numpy as np

    (whole,) = tensors
    return list(np.split(whole, np.cumsum(sizes)[:-1], axis))


STEPS: Mapping[str, Kind] = {
    "permute": Kind(_permute, _unpermute, _unpermute),
    "reshape": Kind(_reshape, _unreshape, _unreshape),
    "flip": Kind(_flip, _flip, _flip),
    "concat": Kind(_concat, _unconcat, _unconcat),
}
"""Every kind of step. They only move elements, so the inverse is the transpose as well."""


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

    def invert(self, tensor: Array) -> dict[str, Array]:
        """The canonical tensors of a target's tensor."""
        return self._back(tensor, lambda kind: kind.invert)

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


class WeightMap:
    """How the tensors of a target come from the canonical ones: an entry for each, in its order."""

    def __init__(self, entries: Sequence[Entry] = ()) -> None:
        self.entries: Mapping[str, Entry] = {entry.target: entry for entry in entries}
        if len(self.entries) != len(entries):
            raise ValueError("two entries of a weight map have one target")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, WeightMap) and self.entries == other.entries

    __hash__ = None  # type: ignore[assignment]

    def convert(self, tensors: Mapping[str, Array]) -> Mapping[str, Array]:
        """Canonical tensors to the target's, lazily; KeyError names a canonical one that lacks."""
        return Converted(self.entries, tensors)

    def invert(self, tensors: Mapping[str, Array]) -> dict[str, Array]:
        """The target's tensors to canonical ones.

        A canonical tensor that has several targets must have one value in all: else `weights-tied`.
        """
        result: dict[str, Array] = {}
        for target, tensor in tensors.items():
            for source, part in self._entry(target).invert(tensor).items():
                if source in result and not _equal(result[source], part):
                    raise MlcError("weights-tied", f"{target} and another copy of {source} differ")
                result[source] = part
        return result

    def gradients(self, gradients: Mapping[str, Array]) -> dict[str, Array]:
        """Gradients by the target's tensors to gradients by canonical ones, summed where tied."""
        result: dict[str, Array] = {}
        for target, gradient in gradients.items():
            for source, part in self._entry(target).gradients(gradient).items():
                result[source] = result[source] + part if source in result else part
        return result

    def _entry(self, target: str) -> Entry:
        if target not in self.entries:
            help = _nearest(target, list(self.entries), "the map has")
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
