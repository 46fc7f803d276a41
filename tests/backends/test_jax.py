"""JAX source: every op against its `eval`, whole models against the reference, the text itself."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from mlc.backends.jax import emit
from mlc.compiler.op import Op
from tests.backends import single
from tests.compiler.ops.sample import cases
from tests.compiler.ops.test_meaning import close

CASES = cases()
WIDE = {"i64", "f64"}


def narrow(made: single.Sample) -> bool:
    """Whether JAX has the dtypes without being told to use 64 bits."""
    values = [*made.values.values(), *made.graph.outputs.values()]
    return not any(value.type.dtype in WIDE for value in values)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int], Any]:
    """By op and sample: what the emitted model gives, all in one XLA program, or what it raised."""
    folder = tmp_path_factory.mktemp("jax")
    found: dict[tuple[str, int], Any] = {}
    calls: dict[tuple[str, int], Any] = {}
    artefacts: dict[tuple[str, int], Any] = {}
    for op, number in CASES:
        key = (op.name, number)
        try:
            made = single.sample(op, number)
            artefact = emit(made.graph, "single")
            model = single.build(artefact, made.weights, folder)
            _ = model.train() if made.node.attrs.get("training") else model.eval()
            feed = [jnp.asarray(array) for array in single.feed(artefact, made)]
            artefacts[key] = artefact
            calls[key] = (*nnx.split(model), feed)
            jax.eval_shape(_call, *calls[key])
        except Exception as error:
            calls.pop(key, None)
            found[key] = error
    arrays = jax.jit(lambda state: {k: _call(c[0], *state[k]) for k, c in calls.items()})(
        {key: call[1:] for key, call in calls.items()}
    )
    return found | {k: single.canonical(artefacts[k], array) for k, array in arrays.items()}


def _call(graph: Any, state: Any, feed: Any) -> Any:
    result = nnx.merge(graph, state)(*feed)
    return result if isinstance(result, tuple) else (result,)


@pytest.mark.parametrize(("op", "number"), CASES, ids=[f"{op.name}-{n}" for op, n in CASES])
def test_op(op: Op, number: int, results: dict[tuple[str, int], Any]) -> None:
    made = single.sample(op, number)
    got = results[op.name, number]
    if isinstance(got, Exception):
        raise got
    for array, want in zip(got, single.expected(made), strict=True):
        close(array, want, op, 1e-5, 1e-6)
        assert array.dtype == single.f32(want).dtype
