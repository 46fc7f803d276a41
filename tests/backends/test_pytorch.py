"""PyTorch source: every op on sizes that it reads, and on another device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from mlc.backends.pytorch import emit
from mlc.compiler.op import Op
from tests.backends import single
from tests.compiler.ops.sample import cases
from tests.compiler.ops.test_meaning import close

CASES = cases()


def each(pairs: list[tuple[Op, int]]) -> Any:
    ids = [f"{op.name}-{number}" for op, number in pairs]
    return pytest.mark.parametrize(("op", "number"), pairs, ids=ids)


class Built:
    """A sample as an emitted module, and the tensors that it is called with."""

    def __init__(self, op: Op, number: int, folder: Path, symbolic: bool = False) -> None:
        self.sample = single.sample(op, number, symbolic)
        attrs = self.sample.node.attrs
        training = attrs.get("training")
        if training is not None and self.sample.node.layer is not None:
            attrs["training"] = None
        self.artefact = emit(self.sample.graph, "single")
        self.module = single.build(self.artefact, self.sample.weights, folder)
        self.module.train(bool(training))
        if "training" in attrs:
            attrs["training"] = training
        self.inputs = {
            value.name: torch.from_numpy(single.f32(self.sample.arrays[value.name]))
            for value in self.sample.graph.inputs
        }

    def __call__(self) -> tuple[torch.Tensor, ...]:
        result = self.module(*self.inputs.values())
        return result if isinstance(result, tuple) else (result,)


@each(CASES)
def test_sizes_are_read_from_the_inputs(op: Op, number: int, tmp_path: Path) -> None:
    built = Built(op, number, tmp_path, symbolic=True)
    wanted = single.expected(built.sample)
    with torch.no_grad():
        for got, want in zip(built(), wanted, strict=True):
            close(got.numpy(), want, op, 1e-5, 1e-6)


@each([case for case in CASES if "lengths" not in case[0].samples[case[1]]])
def test_new_tensors_are_where_the_inputs_are(op: Op, number: int, tmp_path: Path) -> None:
    built = Built(op, number, tmp_path)
    built.module.to("meta")
    built.inputs = {name: x.to("meta") for name, x in built.inputs.items()}
    if built.inputs:
        assert {y.device.type for y in built()} == {"meta"}
