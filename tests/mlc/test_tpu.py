"""`--tpu` on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_check_prints_the_products_of_a_model(mlc) -> None:
    done = mlc("check", str(EXAMPLES / "vit.mdl"), "--tpu", "--size", "B=8")
    assert done.code == 0
    assert "1568 x 768 x 768" in done.out  # patches do not overlap: their pixels are one depth
    assert "282 GFLOPs, 99.7% of them on the matrix unit" in done.out
    assert "sizes: B = 8" in done.out


def test_check_as_json_says_the_same(mlc) -> None:
    done = mlc("check", str(EXAMPLES / "mnist.mdl"), "--tpu", "--json", "--size", "B=16")
    found = json.loads(done.out)
    assert found["sizes"] == {"B": 16}
    assert [each["op"] for each in found["products"]] == ["matmul", "matmul"]
    assert found["on_unit"] == sum(each["flops"] for each in found["products"])
    assert found["products"][0]["place"].startswith(str(EXAMPLES / "mnist.mdl"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--size", "B=8"], "for the report of --tpu"),
        (["--tpu", "--size", "B"], "--size takes NAME=N"),
        (["--tpu", "--size", "B=0"], "--size takes NAME=N"),
        (["--tpu", "--size", "X=2"], "MNIST has no size X; it has B"),
    ],
)
def test_check_refuses_sizes_that_are_none(mlc, arguments, said) -> None:
    done = mlc("check", str(EXAMPLES / "mnist.mdl"), *arguments)
    assert (done.code, said in done.err) == (2, True), done.err


def test_check_holds_sizes_to_the_facts_of_the_model(mlc) -> None:
    done = mlc("check", str(EXAMPLES / "gpt.mdl"), "--tpu", "--size", "T=2000")
    assert done.code == 2
    assert "T <= 1024" in done.err


def test_a_file_for_tpus_is_for_jax(mlc) -> None:
    done = mlc("compile", str(EXAMPLES / "gpt.mdl"), "-t", "keras", "--tpu", "--scan-layers")
    assert done.code == 2
    assert "--tpu and --scan-layers is for the target jax, and the target is keras" in done.err
    done = mlc("compile", str(EXAMPLES / "gpt.mdl"), "-t", "jax", "--tpu", "--scan-layers", "-o-")
    assert (done.code, done.err) == (0, "")
    assert "dtype=jnp.bfloat16" in done.out
    assert "self.layers(h)" in done.out
