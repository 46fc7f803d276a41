"""Files of tensors: safetensors, read by mmap and written one tensor at a time.

So a model larger than memory passes through, and a file that is not whole is refused by name.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from .diagnose import MlcError

if TYPE_CHECKING:
    import numpy as np

    Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

DTYPES: Mapping[str, str] = {
    "BOOL": "bool",
    "U8": "u8",
    "I8": "i8",
    "I16": "i16",
    "I32": "i32",
    "I64": "i64",
    "F16": "f16",
    "BF16": "bf16",
    "F32": "f32",
    "F64": "f64",
}
"""Element types of safetensors, and what the language calls them."""

UNSIGNED: Mapping[str, str] = {"U16": "u16", "U32": "u32", "U64": "u64"}
"""Further element types, which no weight has: states of random generators, saved beside weights."""

HEADER_LIMIT = 100_000_000
"""The longest header that is read, in bytes: the format's own limit."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a tensor lies in a file: its dtype by the language's name, shape, and first byte."""

    dtype: str
    shape: tuple[int, ...]
    start: int


class Tensors(Mapping[str, "Array"]):
    """The tensors of a safetensors file, mapped into memory when asked for; read-only."""

    def __init__(self, path: Path, places: Mapping[str, Place]) -> None:
        self.path = path
        self.places = places

    def __getitem__(self, key: str) -> Array:
        import numpy as np

        place, dtype = self.places[key], _numpy_dtype(self.places[key].dtype)
        if 0 in place.shape:
            return np.empty(place.shape, dtype)
        return np.memmap(self.path, dtype, "r", place.start, place.shape)

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)


def read(path: str | Path) -> Tensors:
    """The tensors of a safetensors file, checked to be whole; `weights-file` says what is wrong."""
    path = Path(path)
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > min(size - 8, HEADER_LIMIT):
                raise _damaged(path, "it is shorter than its header says")
            header = file.read(length)
    except OSError as error:
        raise MlcError("weights-file", f"{path}: {error.strerror}") from error
    return Tensors(path, _places(path, _parse(path, header), 8 + length, size))


def _damaged(path: Path, why: str) -> MlcError:
    return MlcError("weights-file", f"{path} is not a whole safetensors file: {why}")


def _parse(path: Path, header: bytes) -> dict[str, Any]:
    try:
        table = json.loads(header, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"its header cannot be read ({error})") from error
    if not isinstance(table, dict):
        raise _damaged(path, "its header is not a table")
    table.pop("__metadata__", None)
    return table


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a key stands twice")
    return table


def _places(path: Path, table: Mapping[str, Any], base: int, size: int) -> dict[str, Place]:
    """Where each tensor lies; together they must fill the file without gap or overlap."""
    found = [(*_ends(path, key, entry), key) for key, entry in table.items()]
    places, end = {}, 0
    for start, stop, key in sorted(found):
        place = _place(path, key, table[key], base + start)
        if start != end or stop - start != _bytes(place):
            raise _damaged(path, f"{key!r} does not lie where its shape and dtype put it")
        places[key], end = place, stop
    if base + end != size:
        raise _damaged(path, f"its tensors end at byte {base + end}, the file at byte {size}")
    return places


def _ends(path: Path, key: str, entry: Any) -> tuple[int, int]:
    match entry:
        case {"data_offsets": [int(start), int(stop)]} if 0 <= start <= stop:
            return start, stop
    raise _damaged(path, f"{key!r} has no offsets")


def _place(path: Path, key: str, entry: Mapping[str, Any], start: int) -> Place:
    dtype, shape = str(entry.get("dtype")), entry.get("shape")
    if dtype not in DTYPES and dtype not in UNSIGNED:
        raise MlcError("weights-dtype", f"{path}: {key!r} has dtype {dtype}, which mlc has not")
    if not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in shape):
        raise _damaged(path, f"the shape of {key!r} is {shape}")
    return Place(DTYPES.get(dtype) or UNSIGNED[dtype], tuple(shape), start)


def _numpy_dtype(name: str) -> Any:
    from .ops.constant import numpy_dtype

    return numpy_dtype(name)


def _bytes(place: Place) -> int:
    size = (
        1 if place.dtype == "bool" else int(place.dtype.lstrip("abcdefghijklmnopqrstuvwxyz")) // 8
    )
    return math.prod(place.shape) * size


def write(
    path: str | Path,
    tensors: Mapping[str, Array],
    forms: Mapping[str, tuple[str, tuple[int, ...]]] | None = None,
) -> None:
    """Writes a safetensors file; one tensor at a time is in memory if `tensors` is lazy.

    `forms` are their dtypes and shapes, where these are known without asking for the tensors.
    """
    import numpy as np

    places, end = {}, 0
    sizes = forms or {key: (dtype_name(x.dtype), x.shape) for key, x in tensors.items()}
    codes = {ours: theirs for theirs, ours in DTYPES.items()}
    ordered = sorted(sizes, key=lambda key: (-_bytes(Place(sizes[key][0], (1,), 0)), key))
    for key in ordered:
        dtype, shape = sizes[key]
        start, end = end, end + _bytes(Place(dtype, shape, 0))
        places[key] = {"dtype": codes[dtype], "shape": shape, "data_offsets": (start, end)}
    header = json.dumps(places, ensure_ascii=False).encode()
    header += b" " * (-len(header) % 8)
    with Path(path).open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        for key in ordered:
            file.write(np.ascontiguousarray(tensors[key]).reshape(-1).view(np.uint8).data)


def dtype_name(dtype: Any) -> str:
    """What the language calls a NumPy dtype; MlcError `weights-dtype` if it has no name for it."""
    for name in DTYPES.values():
        if _numpy_dtype(name) == dtype:
            return name
    raise MlcError("weights-dtype", f"a tensor of dtype {dtype}, which mlc has not")
