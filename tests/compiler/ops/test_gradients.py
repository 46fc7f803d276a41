"""Every gradient at shapes that hypothesis makes: central differences, and torch in float64."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlc.compiler.diagnose import MlcError
from mlc.compiler.op import Op, TypeMismatch
from mlc.compiler.ops import OPS
from mlc.compiler.run import run
from mlc.compiler.sample import parts, tensors
from tests.compiler.ops.sample import make
from tests.compiler.ops.test_meaning import SMOOTH, against_differences, against_torch

MORE = 4
"""By how much a size may be larger than the sample's: windows that reach beyond small images make
PyTorch, the oracle, write where it must not."""


def sizes_of(op: Op, number: int) -> list[int]:
    """The sizes of the sample's drawn inputs."""
    shapes = [parts(tensor)[0] for tensor in tensors(op, number).values()]
    return sorted({n for shape in shapes if not isinstance(shape, list) for n in shape})


RESIZED = [(op, number) for op, number in SMOOTH if sizes_of(op, number)]


def fitting(op: Op, number: int, wanted: Mapping[int, int]) -> dict[int, int]:
    """Those of the wanted sizes that the op takes, in the place of the sample's own.

    They are tried one after the other: what types or places (an index) do not allow stays.
    """
    taken: dict[int, int] = {}
    for size, other in wanted.items():
        try:
            sample = make(op, number, sizes={**taken, size: other})
            run(sample.graph, sample.inputs, sample.weights)
        except (MlcError, TypeMismatch, IndexError, ValueError):
            continue
        taken[size] = other
    return taken


NUMBERS: dict[str, list[int]] = {}
for each, index in RESIZED:
    NUMBERS.setdefault(each.name, []).append(index)


@pytest.mark.parametrize("name", NUMBERS)
@settings(
    max_examples=4, deadline=None, derandomize=True, database=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
@given(data=st.data())
def test_gradient_at_other_shapes(name: str, data: st.DataObject) -> None:
    op, number = OPS[name], data.draw(st.sampled_from(NUMBERS[name]), "sample")
    own = sizes_of(op, number)
    sizes = fitting(op, number, {n: data.draw(st.integers(n, n + MORE), f"for {n}") for n in own})
    against_torch(make(op, number, sizes=sizes))
    against_differences(make(op, number, sizes=sizes), make(op, number, sizes=sizes))


def test_nearly_every_op_takes_other_shapes() -> None:
    taken = {
        op.name
        for op, number in RESIZED
        if fitting(op, number, {n: n + 1 for n in sizes_of(op, number)})
    }
    assert len(taken) > 0.95 * len({op.name for op, _ in SMOOTH})
