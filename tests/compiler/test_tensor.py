"""Files of tensors, against the safetensors library and against damage."""

from __future__ import annotations

import json
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from mlc.compiler.diagnose import MlcError
from mlc.compiler.tensor import DTYPES, read, write


def _arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    kinds = {"f64": "f8", "f32": "f4", "f16": "f2", "i64": "i8", "i8": "i1", "u8": "u1"}
    arrays = {name: rng.uniform(0, 100, (3, 5)).astype(kind) for name, kind in kinds.items()}
    arrays["bf16"] = rng.normal(size=(2, 3)).astype(ml_dtypes.bfloat16)
    arrays["bool"] = rng.integers(0, 2, (7,)).astype(bool)
    arrays["scalar"] = np.float32(3)[...]
    arrays["empty"] = np.zeros((0, 4), np.float32)
    arrays["moved \"axes'"] = rng.normal(size=(3, 4, 5)).transpose(2, 0, 1)
    return arrays


def _same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(
        a[k].dtype == b[k].dtype and a[k].shape == b[k].shape and np.array_equal(a[k], b[k])
        for k in a
    )


def test_the_library_reads_what_is_written(tmp_path: Path) -> None:
    write(tmp_path / "a.safetensors", _arrays())
    assert _same(load_file(tmp_path / "a.safetensors"), _arrays())


def test_what_the_library_writes_is_read_by_mmap(tmp_path: Path) -> None:
    arrays = {key: np.ascontiguousarray(x) for key, x in _arrays().items()}
    save_file(arrays, tmp_path / "a.safetensors", {"format": "pt"})
    tensors = read(tmp_path / "a.safetensors")
    assert _same(dict(tensors), arrays)
    assert isinstance(tensors["f32"], np.memmap)
    assert not tensors["f32"].flags.writeable


def _raw(path: Path, header: object, data: bytes = b"") -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def _entry(**changes: object) -> dict[str, object]:
    return {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **changes}


@pytest.mark.parametrize(
    ("header", "size", "code", "said"),
    [
        (b"{", 0, "weights-file", "header cannot be read"),
        (b"\xff\xfe", 0, "weights-file", "header cannot be read"),
        (b"[" * 100_000, 0, "weights-file", "header cannot be read"),
        (b"[]", 0, "weights-file", "not a table"),
        (b'{"a": 1, "a": 2}', 0, "weights-file", "stands twice"),
        ({"a": 3}, 0, "weights-file", "no offsets"),
        ({"a": _entry(data_offsets=[8, 0])}, 8, "weights-file", "no offsets"),
        ({"a": _entry(data_offsets=[0, True])}, 8, "weights-file", "does not lie where"),
        ({"a": _entry(shape="2")}, 8, "weights-file", "shape of 'a'"),
        ({"a": _entry(shape=[-2])}, 8, "weights-file", "shape of 'a'"),
        ({"a": _entry(shape=[3])}, 8, "weights-file", "does not lie where"),
        ({"a": _entry(), "b": _entry()}, 8, "weights-file", "does not lie where"),
        ({"a": _entry(data_offsets=[4, 12])}, 12, "weights-file", "does not lie where"),
        ({"a": _entry()}, 4, "weights-file", "end at byte"),
        ({"a": _entry()}, 9, "weights-file", "end at byte"),
        ({"a": _entry(dtype="F8_E4M3")}, 8, "weights-dtype", "F8_E4M3"),
        ({"a": _entry(dtype=["F32"])}, 8, "weights-dtype", "dtype"),
    ],
)
def test_a_damaged_file_is_refused_by_name(
    tmp_path: Path, header: object, size: int, code: str, said: str
) -> None:
    path = _raw(tmp_path / "bad.safetensors", header, bytes(size))
    with pytest.raises(MlcError, match=said) as caught:
        read(path)
    assert caught.value.code == code
    assert str(path) in str(caught.value)


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write(path, {"a": np.arange(4, dtype=np.float32), "b": np.arange(2)})
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(MlcError) as caught:
            read(path)
        assert caught.value.code == "weights-file"


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "none.safetensors", tmp_path):
        with pytest.raises(MlcError) as caught:
            read(path)
        assert caught.value.code == "weights-file"


def test_a_dtype_without_a_name_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(MlcError, match="complex64"):
        write(tmp_path / "a.safetensors", {"a": np.zeros(2, np.complex64)})


def test_dtypes_are_those_of_the_language() -> None:
    from mlc.compiler.graph import DTYPES as LANGUAGE

    assert set(DTYPES.values()) == set(LANGUAGE)
