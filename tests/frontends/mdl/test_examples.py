"""The examples of the repository: types, names, and expressions that compute what was recorded."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import pytest

from mlc.compiler import expr
from mlc.compiler.graph import Graph, Scope
from mlc.frontends.mdl import load

FOLDER = Path(__file__).parents[3] / "examples"
EXAMPLES = sorted(path.stem for path in FOLDER.glob("*.mdl"))
CASES = [*((name, {}) for name in EXAMPLES), ("resnet", {"depth": 18}), ("gpt", {"layers": 2})]


def example(name: str, **params: Any) -> Graph:
    path = FOLDER / f"{name}.mdl"
    return load(path.read_text(), path.name, params=params)


def visible(scope: Scope) -> dict[str, Any]:
    """The names that an expression of this scope may read."""
    names: dict[str, Any] = {}
    for outer in scope.ancestors():
        names = {**outer.values, **names}
        if outer is scope.block:
            break
    return names


def scopes(graph: Graph) -> list[Scope]:
    found = {ancestor: None for node in graph for ancestor in node.scope.ancestors()}
    return list(found)


def recorded(graph: Graph) -> Iterator[tuple[expr.Expr, Scope, Any]]:
    """Every expression that elaboration recorded, where it holds, and what it must give."""
    for node in graph:
        for name, e in node.exprs.items():
            yield e, node.scope, node.attrs[name]
    for layer in graph.layers:
        for name, e in layer.exprs.items():
            yield e, layer.scope, layer.attrs[name]
    for weight in graph.weights.values():
        for e, size in zip(weight.exprs, weight.type.shape, strict=False):
            yield e, weight.scope, size
    for scope in scopes(graph):
        for name, e in scope.exprs.items():
            assert scope.parent is not None
            yield e, scope.parent, scope.values[name]
        for condition, arm in scope.ifs.values():
            yield condition, scope, arm == 0
        for require in scope.requires:
            yield require.condition, scope, True


def test_there_are_examples() -> None:
    assert {"bert", "diffusion", "dlrm", "gpt", "lenet", "mnist", "resnet", "vit"} <= {*EXAMPLES}


@pytest.mark.parametrize(("name", "params"), CASES)
def test_recorded_expressions_give_the_recorded_values(name: str, params: dict[str, Any]) -> None:
    graph = example(name, **params)
    assert graph.warnings == []
    found = list(recorded(graph))
    assert found
    for e, scope, value in found:
        if not expr.known(e) or (value is True and not _decided(e, scope)):
            continue
        assert expr.evaluate(e, visible(scope)) == value, expr.show(e)


def _decided(condition: expr.Expr, scope: Scope) -> bool:
    """Whether a condition is true or false; one of open sizes is a fact of the model instead."""
    try:
        expr.evaluate(condition, visible(scope))
    except expr.Undecided:
        return False
    return True


@pytest.mark.parametrize(("name", "params"), CASES)
def test_loops_and_scopes_agree(name: str, params: dict[str, Any]) -> None:
    for scope in scopes(example(name, **params)):
        if scope.loop is None or scope.parent is None:
            continue
        rows = expr.evaluate(scope.loop.table, visible(scope.parent))
        if not scope.loop.variables:
            assert rows == scope.loop.count
            continue
        assert len(rows) == scope.loop.count
        row = rows[scope.index or 0]
        row = row if len(scope.loop.variables) > 1 else (row,)
        assert tuple(scope.values[name] for name in scope.loop.variables) == tuple(row)


@pytest.mark.parametrize(
    ("name", "params", "count"),
    [
        ("mnist", {}, 784 * 128 + 128 + 1280 + 10),
        ("resnet", {"depth": 18}, 11_689_512),  # as torchvision's
        ("resnet", {"depth": 50}, 25_557_032),
        ("resnet", {"depth": 101}, 44_549_160),
        ("gpt", {}, 50257 * 768 + 1024 * 768 + 12 * 7_087_872 + 2 * 768),
        ("densenet", {}, 7_978_856),
        ("convnext", {}, 28_589_128),
        ("efficientnet", {}, 5_288_548),  # as torchvision's efficientnet_b0
        ("llama", {}, 1_100_048_384),  # as TinyLlama 1.1B
        ("mobilenet", {}, 2_542_856),  # as torchvision's mobilenet_v3_small
        ("swin", {}, 28_288_354),  # as torchvision's swin_t
        ("t5", {}, 60_506_624),  # as transformers' t5-small
        ("vit", {}, 86_567_656),  # as torchvision's vit_b_16
        ("bert", {}, 109_482_240),  # as transformers' bert-base-uncased
    ],
)
def test_numbers_of_weights(name: str, params: dict[str, Any], count: int) -> None:
    weights = example(name, **params).weights.values()
    assert sum(prod(w.type.shape) for w in weights if w.trainable) == count  # type: ignore[arg-type]


def test_names_of_tiny_resnet() -> None:
    graph = example("tiny_resnet")
    layers = [layer.path for layer in graph.layers]
    assert layers[:2] == ["conv", "batch_norm"]
    assert [path for path in layers if path.startswith("blocks.2.")] == [
        "blocks.2.conv1", "blocks.2.batch_norm1", "blocks.2.conv2", "blocks.2.batch_norm2",
        "blocks.2.skip.0", "blocks.2.skip.1",
    ]  # fmt: skip
    assert not any(path.startswith("blocks.3.skip") for path in layers)
    assert layers[-1] == "linear"
    chain = next(node.scope for node in graph if node.scope.path == "blocks.2.skip")
    assert (chain.kind, chain.member, chain.arms[0][1]) == ("chain", "skip", 1)
    assert len(graph.updates) == 2 * sum(path.endswith("running_mean") for path in graph.weights)
    assert str(graph.outputs["logits"].type) == "f32[B, 10]"
    assert graph.facts == []


def test_gpt_ties_its_embedding_and_bounds_its_length() -> None:
    graph = example("gpt", layers=2)
    assert [str(fact) for fact in graph.facts] == ["T <= 1024"]
    token = graph.weights["token.weight"]
    assert sorted(node.op.name for node in token.users) == ["embedding", "transpose"]
    assert [node.inputs[1] for node in graph if node.op.name == "attention"] == [None, None]
    block = next(node.scope for node in graph if node.scope.path == "layers.1")
    assert "keep" not in block.inputs
    assert block.parent is not None
    assert block.parent.loop is not None
    assert block.parent.loop.name == "layers"
    assert block.definition is not None
    assert list(block.definition.params) == ["heads", "drop"]
    assert list(block.definition.sizes) == ["B", "T", "D"]
