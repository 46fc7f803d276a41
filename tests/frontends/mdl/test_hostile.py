"""Texts that mean harm: refused in time, with little memory, and never as code of the output."""

from __future__ import annotations

import ast
import builtins
import keyword
import random
import re
import time
import tracemalloc
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest

import mlc
from mlc.compiler.diagnose import MlcError
from mlc.compiler.equal import difference
from mlc.compiler.ops import OPS
from mlc.compiler.text import text as text_of
from mlc.frontends.mdl import elaborate, layout, limits, load
from mlc.frontends.mdl.format import format

HEAD = "model M:\n    in  x: f32[B, 8]\n    out y: like x\n"
SIZES = "model M:\n    in  x: f32[A, B, C, D, E]\n    out y: like x\n"
SECONDS, MEMORY = 10, 200_000_000
"""What one of these texts may take on a machine that is busy; most take a tenth."""


def lines(*body: str, head: str = HEAD, result: str = "y = x") -> str:
    return head + "".join(f"    {line}\n" for line in (*body, result))


def block(name: str, *body: str) -> str:
    rest = "".join(f"    {line}\n" for line in body)
    return f"block {name}:\n    in  x: f32[B, C]\n    out y: like x\n{rest}"


def nested(count: int, calls: int) -> str:
    blocks = [block(f"B{i}", "y = x" + f" -> B{i + 1}" * calls) for i in range(count)]
    return "".join([*blocks, block(f"B{count}", "y = x"), lines(result="y = x -> B0")])


def written(count: int) -> list[str]:
    """Lines of scans whose blocks hold the next one."""
    if not count:
        return ["h = x"]
    inner = ["block:", "    in  x: f32[8]", "    in  z: f32[8]", "    out h: f32[8]"]
    inner += [f"    {line}" for line in written(count - 1)]
    return ["h = scan(x, x, carried = 1, scanned = 1, axis = 0):", *(f"    {i}" for i in inner)]


def loop(count: int, *body: str) -> str:
    return lines(f"repeat {count}:", *(f"    {line}" for line in body))


STEPS: dict[str, str] = {
    "blocks that make nothing": nested(20, 2),
    "blocks in long pipes": nested(4, 100),
    "a long body, often": loop(20_000, *(f"a{i} = 1" for i in range(300))),
    "a body that is not run": loop(20_000, "if false:", *(f"    a{i} = 1" for i in range(300))),
    "loops in loops": loop(140, "repeat 140:", "    a = 1 + 2 * 3 - 4 // 5"),
    "long sums": loop(20_000, "a = sum(range(20000))"),
    "slices": lines("a = range(20000)", "repeat 9000:", "    b = a[::-1]"),
    "a list that grows": lines("a = []", "repeat 19000:", "    a += [1]"),
    "a string that grows": lines('a = "a"', "repeat 15000:", '    a += "a"'),
    "long constants": lines("a = range(20000)", "repeat 9000:", "    b = constant(a)"),
    "many outputs": lines("repeat 2000:", "    z = y -> split(9000, axis = 0)",
                          head="model M:\n    in  y: f32[9000]\n    out y: like y\n", result=""),
    "tensors in long lists": lines(
        "a = [x]", *["a = a + a"] * 12, "repeat 900:", "    b = stack(a, axis = 0)"
    ),
    "expressions that double": loop(9_000, "a = 1", *["a = a + a - a"] * 20),
    "sizes of many terms": lines(
        "n = (A + B + C + D) ** 3", "repeat 9000:", "    m = n * n - n * n", head=SIZES
    ),
}  # fmt: skip
"""Texts that are short, and would run for hours."""

LIMITS: dict[str, str] = {
    "a list of itself": lines("a = [1]", *["a = [a, a]"] * 60),
    "long lists in a list": lines("a = [range(20000)] * 20000"),
    "lists of tensors": lines("a = [x]", *["a = [a, a]"] * 60),
    "many long lists": lines(f"a = [{'range(20000), ' * 2000}]"),
    "many long arguments": lines(f"a = zip({'range(20000), ' * 2000})"),
    "a sum of lists": lines("a = sum([range(20000)] * 20000, [])"),
    "a power": lines("a = 2 ** 99999"),
    "a power of a fraction": lines("a = (1 / 3) ** 999"),
    "a sum of large numbers": lines("a = 2 ** 62 + 2 ** 62"),
    "a power of a size": lines("n = (A + B + C + D + E) ** 8", head=SIZES),
    "a size that squares": lines("n = A", *["n = n * n"] * 60, head=SIZES),
    "a size that nests": lines(
        "n = A", *["n = min(n * B, n // 3 + A) // 5 + n % (B + 1)"] * 60, head=SIZES
    ),
    "a size of large numbers": lines("n = A", *["n = n * 10 ** 9"] * 9, head=SIZES),
    "many axes": lines(head=f"model M:\n    in  x: f32[{'1, ' * 40}]\n    out y: like x\n"),
    "many axes of a result": lines("h = x -> reshape(" + "1, " * 40 + "B, 8)"),
    "a tensor that is large": lines(result="y = x" + " -> tile(1, 10 ** 9)" * 9),
    "a weight that is large": lines(result="y = x -> linear(2 ** 40) -> linear(2 ** 40)"),
    "a param that is large": lines("param w: f32[2 ** 40, 2 ** 40] = zeros"),
    "a kernel that is large": lines(
        result="y = x -> conv(10 ** 17, 10 ** 17)",
        head="model M:\n    in  x: f32[B, 3, H, W]\n    out y: like x\n",
    ),
    "lists that double": lines("h = x", "repeat 300:", "    h = concat(h, h, axis = 0)"),
    "a long name": lines("a" * 201 + " = 1"),
    "long numbers": lines("a = " + "9" * 500_000),
    "a large float": lines("a = 1e999"),
    "a long text": "#" * 1_000_001,
    "deep parentheses": lines(result="y = " + "(" * 400_000 + "x" + ")" * 400_000),
    "deep signs": lines("a = " + "-" * 150_000 + "1"),
    "deep bodies": lines(*[f"{'    ' * i}if true:" for i in range(80)]),
    "deep arms": lines("if false:", "    a = 1", *["elif false:", "    a = 1"] * 200),
    "many facts": lines(*[f"require {n} % {k} == 0" for n in "AB" for k in range(1_000, 1_200)],
                        head=SIZES),
    "a long pattern": lines(result='y = x -> rearrange("b c -> ' + "a " * 400 + '")'),
    "many repeats": loop(10**12, "a = 1"),
    "deep blocks": nested(25, 1),
    "deep written blocks": lines(*written(40)),
}  # fmt: skip

ERRORS: dict[str, str] = {
    "places of a number": lines("a = round(5, -1000000000)"),
    "a message that is long": lines("require false, " + '"' + "{y}" * 9_000 + '"', result="y = 1"),
    "an error and a pipe": lines("h = = x" + "\n      -> relu" * 50_000),
    "many errors": HEAD + "    h = = x\n" * 60_000,
    "many headers": "".join(f"block B{i}:\n    y = x\n" for i in range(8_000)) + lines(),
    "names nearly alike": lines(*[f"value_{i} = valu_{i}" for i in range(9_000)]),
    "axes by the thousand": lines(result=f"y = x -> mean({'B, ' * 20_000}B)"),
}


@pytest.mark.parametrize("text", STEPS.values(), ids=STEPS)
def test_texts_that_run_for_hours(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elaborate, "STEPS", limits.STEPS // 25)
    assert refused(text) == {"limit"}


@pytest.mark.parametrize("text", LIMITS.values(), ids=LIMITS)
def test_texts_that_are_too_large(text: str) -> None:
    assert refused(text) <= {"limit", "recursion"}


@pytest.mark.parametrize("text", ERRORS.values(), ids=ERRORS)
def test_texts_that_are_wrong_at_length(text: str) -> None:
    assert "limit" not in refused(text)


def test_texts_of_many_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "TOKENS", limits.TOKENS // 50)
    assert refused(lines("a = [" + "1, " * 2_000 + "]")) == {"limit"}


def refused(text: str) -> set[str]:
    """The codes with which a text is refused, in time."""
    start = time.monotonic()
    with pytest.raises(MlcError) as caught:
        load(text)
    assert time.monotonic() - start < SECONDS
    errors = getattr(caught.value, "errors", (caught.value,))
    assert all(len(error.message) <= 2 * limits.MESSAGE for error in errors)
    return {error.code for error in errors}


@pytest.mark.parametrize("name", ["lists of tensors", "many long arguments", "many long lists"])
def test_little_memory_is_taken(name: str) -> None:
    tracemalloc.start()
    try:
        refused(LIMITS[name])
        assert tracemalloc.get_traced_memory()[1] < MEMORY
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("text", ["\n" * 400_000, "#\n" * 400_000, '# "' + "a" * 900_000])
def test_long_texts_that_say_little(text: str) -> None:
    start = time.monotonic()
    assert len(load(text + "\n" + lines(result="y = relu(x)"))) == 1
    assert format(text).count("#") == text.count("#")
    assert time.monotonic() - start < SECONDS


def test_warnings_are_counted() -> None:
    graph = load(lines(*[f"a{i} = 1" for i in range(500)]))
    assert len(graph.warnings) == limits.WARNINGS + 1
    assert graph.warnings[-1].message == "there are 400 more warnings"


def test_expressions_that_double_stay_numbers() -> None:
    graph = load(lines("a = 1", *["a = a + a - a"] * 80, result="y = x -> linear(8 * a)"))
    (node,) = graph
    assert node.attrs["features"] == 8
    assert "features" not in node.exprs


def test_the_reference_states_the_bounds() -> None:
    text = files("mlc.grammar").joinpath("reference.md").read_text("utf-8")
    section = text.split("## Bounds\n")[1].split("\n## ")[0]
    for name in dir(limits):
        value = getattr(limits, name)
        if isinstance(value, int) and name not in ("SYNTAX_ERRORS", "SHOWN", "MESSAGE"):
            assert f"{value:,}" in section, name


STATIC = [
    "2 ** -9", "0 ** -1", "(0 - 8) ** (1 / 3)", "1e300 ** 1e300", "1e300 * 1e300", "7 % 0", "7 / 0",
    "7 // 0.0", "floor(inf)", "ceil(nan)", "int(inf)", "int(1e300)", "round(nan)", "range(inf)",
    "range(1, 5, 0)", "range()", "range(1, 2, 3, 4)", "min([])", "max()", 'max(1, "a")', "len(5)",
    "sqrt(0 - 1)", 'abs("a")', "[1][nan]", "[1][1e300]", "[1][9]", '"abc"["a"]', "[1][::0]",
    "sum(5)", "sum([x])", 'sum(["a"])', "enumerate(5)", "zip(5)", "zip([1], [])", 'int("")',
    'int("99999999999999999999999999")', "int([1])", 'round("a")', "1 in 5", "[] + 1", "(1,) * 3",
    '"a" * 3', "true + 1", '-"a"', "not 3", "1 if 3 else 2", "x if x else x", "linear + 1",
    "B ** B", "B / 0", "B // (0 - 1)", "2 ** B", "B ** 1.5", "sqrt(B)", "B[0]", "B and true",
    "[[]] == [1]", "nan == nan", "range(B)", "min(B, inf)", "min(B, 1.5)", "x[B:]", "relu(3)",
    "x[1e9]", "x[" + "none, " * 60 + "]", "x.weight", "B.weight", "linear.weight", "x(3)", "3(x)",
    "x -> 3", "3 -> relu", '"{x}" -> relu', "x -> linear(linear)", "x -> linear(x)",
    "x -> reshape(0)", "x -> reshape(0 - 5)", "x -> mean(mean)", "x -> constant", "x -> linear()",
    "x[none:none:0]", "x -> cast(f33)",
]  # fmt: skip


@pytest.mark.parametrize("expression", STATIC)
def test_expressions_that_have_no_value(expression: str) -> None:
    try:
        load(lines(f"a = {expression}"))
    except MlcError as error:
        errors = getattr(error, "errors", (error,))
        assert all(each.span is not None for each in errors)


# ------------------------------------------------------------------------------ nothing is code

MARK = "EVIL"
TARGETS = ("keras", "pytorch", "jax", "openvino")
WORDS = sorted(
    {*keyword.kwlist, *keyword.softkwlist, *(n for n in dir(builtins) if n[0] != "_"), "self", "nn"}
    | {"torch", "F", "Tensor", "jax", "jnp", "nnx", "keras", "np", "ov", "ops", "build", "weights"}
    | {"config", "model", "load_file", "Path", "forward", "call", "training", "rngs", "tensors"}
    | {"state", "noise", "out", "repeat", "like", "use", "f32", "std", "relu_", "shape", "dtype"}
    | {"x", "y"}
)  # fmt: skip
RESERVED = {"and", "or", "not", "if", "elif", "else", "in", "for", "as", "true", "false", "none"}
NAMES = sorted(set(WORDS) - RESERVED - {"inf", "nan", *OPS})
TRICKS = [
    '"""', "'''", '"', "'", "\\", "{", "}", "{x}", "#", "%s", "$(a)", "`", ";", " ", "]]>", MARK,
    f"{MARK}()", f"{{{MARK}}}", f"{{{MARK}!r:>{{x}}}}", "__import__", "\t", "é", "\u202e",
]  # fmt: skip


def hostile(chance: random.Random) -> str:
    """A model that is right, with names and texts that mean harm."""
    width, held, rows, extra, inner, outer = chance.sample(NAMES, 6)
    doc, message, note = ("".join(chance.choices(TRICKS, k=9)) for _ in range(3))
    quoted = message.replace("\\", "\\\\").replace('"', '\\"').replace("\t", "\\t")
    path = quoted.replace(".", "") or "p"
    return (
        f"# {doc}\nblock {inner}(a_{width}, {held} = 0.5):\n"
        f"    in  x_: f32[{rows}, 4]\n    out y_: f32[{rows}, a_{width}]\n"
        f'    require a_{width} > 0, "{quoted} {{a_{width}}}"\n'
        f"    y_ = x_ -> linear(a_{width}) as {extra} -> dropout({held})\n"
        f"# {note}\nmodel {outer}(a_{width} = 4):\n    in  in_{rows}: f32[{rows}, 4]\n"
        f"    in? {extra}: f32[{rows}, 4] = 1.5\n    out {held}: f32[{rows}, a_{width}]\n"
        f'    param p_: f32[4] = normal(0.1) as "{path}.{held}.0"\n'
        f"    {held} = in_{rows} * p_ + {extra} -> {inner}(4) -> {inner}(a_{width}, {held} = 0.1)\n"
    )


@pytest.mark.parametrize("seed", range(10))
def test_names_and_texts_never_become_code(seed: int) -> None:
    graph = load(hostile(random.Random(seed)))
    for target in TARGETS:
        source = mlc.compile(graph, target, name="net").source
        assert not {word for word in _identifiers(ast.parse(source)) if MARK in word}
        compile(source, "net.py", "exec")


def _identifiers(tree: ast.AST) -> Iterator[str]:
    """Every word of a program that is no string."""
    for node in ast.walk(tree):
        for name in ("id", "attr", "arg", "name", "module", "asname"):
            word = getattr(node, name, None)
            if isinstance(word, str):
                assert re.fullmatch(r"[A-Za-z_][\w.]*", word), word
                yield word


def test_files_stay_in_their_folder(tmp_path: Path) -> None:
    text = lines('param w: f32[8] = zeros as "/etc/__class__.x"', result="y = x * w")
    inner = tmp_path / "inner"
    for target in (*TARGETS, "onnx"):
        made = mlc.compile(load(text), target).save(inner)
        assert made.parent == inner
    assert [path.name for path in tmp_path.iterdir()] == ["inner"]


@pytest.mark.parametrize("path", ["../../x", ".a", "a.", "a..b", "", ".", "a" * 2_000])
def test_paths_of_weights_are_names(path: str) -> None:
    text = lines(f'param w: f32[8] = zeros as "{path}"', result="y = x * w")
    assert refused(text) == {"value"}


@pytest.mark.parametrize(
    "path", ["a" * 900, "__class__.x", "__a", "a b.c'", "/etc/passwd", "é.{x}"]
)
def test_odd_paths_are_written_and_read_again(path: str) -> None:
    graph = load(lines(f'param w: f32[8] = zeros as "{path}"', result="y = x * w"))
    assert list(graph.weights) == [path]
    assert difference(graph, load(text_of(graph))) is None


def test_constants_are_written_up_to_what_can_be_read() -> None:
    for count, known in ((9_000, True), (11_000, False)):
        h = f"h = unsqueeze(constant([{'1.5, ' * count}]), 1)"
        graph = load(lines(h, "c = h * 1.0"))
        node = next(iter(graph))
        node.attrs["value"] = node.attrs["value"].reshape(-1, 1)
        if known:
            assert text_of(graph).count("1.5") == count
        else:
            with pytest.raises(MlcError, match="has no text"):
                text_of(graph)


@pytest.mark.parametrize("init", ["zeros", "normal(1)"])
def test_weights_that_no_memory_holds_are_not_drawn(init: str) -> None:
    graph = load(lines(f"param w: f32[10 ** 6, 10 ** 6] = {init}", result="y = x * sum(w)"))
    assert mlc.compile(graph, "pytorch").source
    with pytest.raises(MlcError, match="memory does not hold") as caught:
        mlc.compile(graph, "onnx")
    assert caught.value.code == "limit"


def test_names_of_python_are_refused() -> None:
    assert refused(lines("__class__ = 1")) == {"syntax"}
