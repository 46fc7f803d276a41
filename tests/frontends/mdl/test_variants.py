"""Graphs beside a model's, which show the arms and loops that it passes by."""

from __future__ import annotations

from typing import Any

import pytest

from mlc.frontends.mdl import load

HEAD = "    in  x: f32[B, 4]\n    out y: like x\n"


def _shown(body: str, params: str, **given: Any) -> list[dict[str, Any]]:
    """The hyper-parameters of the variants, as far as they differ from the model's own."""
    graph = load(f"model Net({params}):\n{HEAD}{body}", params=given)
    own = graph.root.values
    return [
        {name: value for name, value in variant.root.values.items() if own[name] != value}
        for variant in graph.variants()
    ]


def test_a_model_that_shows_all_of_itself_has_none() -> None:
    assert _shown("    y = x -> linear(4)\n", "width = 4") == []
    assert _shown("    h = x\n    repeat n:\n        h = relu(h)\n    y = h\n", "n = 2") == []
    both = "    for i in range(n):\n        h = relu(h) if i == 0 else tanh(h)\n    y = h\n"
    assert _shown(f"    h = x\n{both}", "n = 2") == []


@pytest.mark.parametrize(
    ("condition", "params", "change"),
    [
        ("flag", "flag = true", {"flag": False}),
        ("n > 3", "n = 2", {"n": 4}),
        ("kind == 'wide'", "kind = 'deep'", {"kind": "wide"}),
        ("n in [2, 7]", "n = 3", {"n": 2}),
        ("2 * half == 8", "half = 3", {"half": 4}),
    ],
)
def test_the_other_arm_of_an_if_is_shown(condition: str, params: str, change: Any) -> None:
    condition = condition.replace("'", '"')
    body = f"    if {condition}:\n        y = relu(x)\n    else:\n        y = tanh(x)\n"
    assert _shown(body, params.replace("'", '"')) == [change]


def test_a_loop_that_runs_no_time_is_shown_running() -> None:
    loop = "    h = x\n    repeat n:\n        h = h -> linear(4)\n    y = h\n"
    assert _shown(loop, "n = 0") == [{"n": 1}]


def test_values_that_the_model_refuses_are_passed_over() -> None:
    body = "    require n in [2, 8]\n    y = relu(x) if n < 5 else tanh(x)\n"
    assert _shown(body, "n = 2") == [{"n": 8}]
    assert _shown(body.replace("8", "3"), "n = 2") == []


def test_what_only_an_arm_holds_is_shown_too() -> None:
    first = "    if deep:\n        y = relu(x) if wide else tanh(x)\n"
    body = f"{first}    else:\n        y = sigmoid(x)\n"
    shown = _shown(body, "deep = false, wide = true")
    assert shown == [{"deep": True}, {"deep": True, "wide": False}]


def test_what_no_hyper_parameter_of_the_model_decides_is_left() -> None:
    block = f"block Unit(flag = true):\n{HEAD}    y = relu(x) if flag else tanh(x)\n"
    graph = load(f"{block}model Net(n = 1):\n{HEAD}    y = x -> Unit()\n")
    assert list(graph.variants()) == []
    passed = load(f"{block}model Net(flag = false):\n{HEAD}    y = x -> Unit(flag)\n")
    assert [variant.root.values["flag"] for variant in passed.variants()] == [True]


def test_a_hostile_bound_is_not_run() -> None:
    body = "    h = x\n    repeat 20 ** n if n > 8 else 0:\n        h = relu(h)\n    y = h\n"
    assert _shown(body, "n = 2") == []
