"""`mlc ops`: the table of operators and targets, for people and for programs."""

from __future__ import annotations

import json
import time

import pytest

from mlc.backends import TARGETS
from mlc.backends.support import REFUSED, Refusal, Support, support
from mlc.compiler.ops import OPS
from mlc.ops import cell, chosen, table


def test_words_and_targets_choose(mlc) -> None:
    done = mlc("ops", "conv_", "prelu", "--target", "jax,onnx")
    assert done.code == 0
    assert [line.split()[:3] for line in done.out.splitlines()] == [
        ["prelu(x)", "idiomatic", "idiomatic"],
        ["conv_transpose(x)", "idiomatic", "idiomatic"],
    ]


def test_what_a_pipe_gets_is_rows_alone(mlc) -> None:
    done = mlc("ops", FORCE_COLOR="1")
    assert (len(done.out.splitlines()), done.err) == (len(OPS), "")
    assert "\x1b[32midiomatic" in done.out
    assert "\x1b" not in mlc("ops").out


def test_a_terminal_gets_a_heading_a_legend_and_a_count() -> None:
    lines = table(chosen(["softmax"]), ["keras", "jax"], colour=False, width=80).splitlines()
    assert lines[0].split() == ["operator", "keras", "jax"]
    assert (
        lines[-1]
        == "2 operators, in all targets together: 4 idiomatic, 0 partly, 0 body, 0 refused"
    )
    assert max(map(len, lines)) <= 90


def test_json_says_how_many_samples_have_a_form_of_their_own(mlc) -> None:
    (row,) = [r for r in json.loads(mlc("ops", "sdpa", "--json").out) if r["op"] == "sdpa"]
    assert row["inputs"] == ["q", "k", "v", "mask?", "bias?"]
    assert set(row["targets"]) == set(TARGETS)
    found = row["targets"]["jax"]
    assert found["form"] == "partly"
    assert 0 < found["idiomatic"] < found["samples"] == len(OPS["sdpa"].samples)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["sofmax"], "did you mean softmax?"), (["--target", "tourch"], "did you mean pytorch?")],
)
def test_a_word_that_nothing_has_is_an_error(mlc, arguments: list[str], said: str) -> None:
    done = mlc("ops", *arguments)
    assert (done.code, done.out) == (2, "")
    assert said in done.err


def test_a_refusal_is_shown_with_its_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    every = Refusal((0, 1, 2, 3), "why", "test_probe")
    one = Refusal((0,), "why", "test_probe")
    refused = {("exp", "jax"): every, ("exp", "onnx"): one}
    monkeypatch.setattr("mlc.backends.support.REFUSED", refused)
    found = support(OPS["exp"])
    assert found["jax"].form == "refused"
    assert cell(found["onnx"]) == "idiomatic, 1 refused"
    assert cell(Support(5, 2)) == "partly 2/5"
    assert not REFUSED.keys() & refused.keys()


def test_all_of_it_takes_less_than_a_second_of_work(mlc) -> None:
    begin = time.process_time()
    for op in OPS.values():
        support(op)
    assert time.process_time() - begin < 1
