"""`use`: blocks of other files and of the library, paths that lead elsewhere, whose error it is."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import pytest

from mlc import compile
from mlc import load as load_path
from mlc.compiler.diagnose import MlcError, MlcErrors
from mlc.compiler.equal import difference
from mlc.compiler.graph import Graph
from mlc.frontends.mdl import load
from mlc.frontends.mdl.format import format
from mlc.frontends.mdl.limits import FILES

SCALE = """block Scale(width):
    in  x: f32[B, C]
    out y: f32[B, width]
    y = x -> linear(width) -> Inner
"""
INNER = """block Inner:
    in  x: f32[B, C]
    out y: like x
    y = x -> linear(C) -> relu
"""
MAIN = """model Net(width = 4):
    in  x: f32[B, 3]
    out y: f32[B, width]
    y = x -> Scale(8) -> Scale(width)
"""
Write = Callable[..., Graph]


@pytest.fixture
def net(tmp_path: Path) -> Write:
    """Writes files and loads the first of them."""

    def write(**texts: str) -> Graph:
        first = None
        for name, text in texts.items():
            path = tmp_path / f"{name.replace('__', '/')}.mdl"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            first = first or path
        assert first is not None
        return load_path(first)

    return write


def failure(make: Callable[[], object]) -> MlcError:
    with pytest.raises(MlcError) as caught:
        make()
    return caught.value


def user(place: str, names: str = "Scale") -> str:
    return f"use {place} ({names})\n\n{MAIN}"


# --------------------------------------------------------------------------------- what it means


def test_used_blocks_are_as_those_of_the_file(net: Write) -> None:
    used = net(net=user("blocks.mdl"), blocks=SCALE + INNER)
    own = load(SCALE + INNER + MAIN)
    assert difference(used, own) is None
    for target in ("pytorch", "jax"):
        assert compile(used, target, name="net").source == compile(own, target, name="net").source


def test_a_name_of_ones_own(net: Write) -> None:
    other = MAIN.replace("Scale", "Wide").replace("model", "# mine\n\nmodel")
    graph = net(net="use blocks.mdl (Scale as Wide)\n" + other, blocks=SCALE + INNER)
    assert next(iter(graph.weights)) == "wide1.linear.weight"
    source = compile(graph, "pytorch").source
    assert "class Wide(nn.Module)" in source
    assert "class Inner(nn.Module)" in source


def test_each_file_has_its_own_names(net: Write) -> None:
    mine = INNER.replace("relu", "tanh")
    theirs = user("blocks.mdl") + mine.replace("linear(C) -> ", "")
    theirs = theirs.replace("Scale(8)", "Inner -> Scale(8)")
    graph = net(net=theirs, blocks=SCALE + INNER)
    assert [n.op.name for n in graph] == ["tanh"] + ["linear", "linear", "relu"] * 2
    source = compile(graph, "pytorch").source
    assert "class Inner(nn.Module)" in source
    assert "class Inner2(nn.Module)" in source
    message = failure(lambda: net(net=user("blocks.mdl").replace("Scale(8)", "Inner"),
                                  blocks=SCALE + INNER))  # fmt: skip
    assert (message.code, message.message) == ("name", "there is no op or block Inner")


def test_the_model_keeps_its_name(net: Write) -> None:
    private = SCALE.replace("Inner", "Net") + INNER.replace("Inner", "Net")
    source = compile(net(net=user("blocks.mdl"), blocks=private), "pytorch").source
    assert "def build(weights: str | Path | None = None, **config: int) -> Net:" in source


def test_files_of_folders_and_by_two_ways(net: Write) -> None:
    graph = net(
        net=user("parts/blocks.mdl") + "\nuse parts/inner.mdl (Inner)\n"
        + MAIN.replace("model Net", "block Other").replace("Scale(8)", "Inner"),
        parts__blocks="use deep/up.mdl (Inner)\n" + SCALE,
        parts__deep__up='use "../inner.mdl" (Inner as In)\n' + INNER.replace("relu", "In"),
        parts__inner=INNER,
    )  # fmt: skip
    assert [n.op.name for n in graph] == ["linear", "linear", "linear", "relu"] * 2
    assert graph.warnings == []


def test_a_model_of_another_file_is_a_block_here(net: Write) -> None:
    graph = net(net=user("other.mdl", "Net as Scale").replace("(8)", "(width = 3)"),
                other="use blocks.mdl (Scale)\n" + MAIN, blocks=SCALE + INNER)  # fmt: skip
    assert graph.name == "Net"
    assert len(graph) == 12


def test_names_with_signs_are_quoted(net: Write, tmp_path: Path) -> None:
    (tmp_path / "my blocks-2.mdl").write_text(SCALE + INNER)
    assert len(net(net=user('"my blocks-2.mdl"'))) == 6
    (tmp_path / "my-blocks.mdl").write_text(SCALE + INNER)
    assert len(net(net=user("my-blocks.mdl"))) == 6


def test_names_that_are_not_used_are_told(net: Write) -> None:
    graph = net(net=user("blocks.mdl", "Scale, Inner"), blocks=SCALE + INNER)
    (warning,) = graph.warnings
    assert (warning.code, warning.message) == ("unused", "Inner of blocks.mdl is never used")
    graph = net(net=user("blocks.mdl"), blocks=SCALE.replace("y =", "z = x\n    y =") + INNER)
    (warning,) = graph.warnings
    assert str(warning.span).endswith("blocks.mdl:4:5")


# ------------------------------------------------------------------------------------ the library


def test_a_text_uses_the_library_alone() -> None:
    text = user("std", "MLP as Scale").replace("B, 3", "B, T, 3").replace("B, width", "B, T, width")
    assert len(load(text.replace("Scale(width)", "linear(width)"))) == 6
    error = failure(lambda: load(user("blocks.mdl")))
    assert (error.code, error.message) == (
        "use", "blocks.mdl lies beside no file: this model is a text",
    )  # fmt: skip
    assert error.help == "load it from a file; a text can use std"


def test_the_library_is_pinned() -> None:
    text = files("mlc.grammar").joinpath("std.mdl").read_text("utf-8")
    code = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    digest = hashlib.sha256(code.encode()).hexdigest()[:16]
    assert digest == "925a2101688efd95", (
        "blocks of std never change: put another block in another library"
    )
    assert format(text) == text


LIBRARY = """use std (Bottleneck, CausalLayer, DecoderLayer, EncoderLayer, InvertedResidual, MLP)
use std (ResidualUnit, SqueezeExcite, SwiGLU)

model Everything:
    in  image: f32[B, 3, 8, 8]
    in? keep: bool[B, 16] = true
    out y: f32[B, 16, 8]

    h = image -> ResidualUnit(8) -> Bottleneck(2) -> SqueezeExcite(2)
              -> InvertedResidual(8, 16, stride = 2)
              -> InvertedResidual(8, 8, kernel = 5, squeeze = 4)
              -> rearrange("b c h w -> b (h w) c")
    m = h -> EncoderLayer(2, 16, keep = keep) -> MLP(4, activation = tanh, drop = 0.5) -> SwiGLU(3)
    y = (h -> CausalLayer(4, 8, keep = keep), m) -> DecoderLayer(2, 8, keep = keep)
"""


def test_every_block_of_the_library_compiles() -> None:
    text = files("mlc.grammar").joinpath("std.mdl").read_text("utf-8")
    names = [line.split("(")[0][6:] for line in text.splitlines() if line.startswith("block ")]
    assert all(name in LIBRARY for name in names)
    graph = load(LIBRARY)
    assert graph.warnings == []
    for target in ("keras", "pytorch", "jax", "openvino", "onnx"):
        assert compile(graph, target).files


# ------------------------------------------------------------------------------ what is not read


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ('"/etc/passwd"', "/etc/passwd is no library, and no file of the language"),
        ('"/tmp/blocks.mdl"', "/tmp/blocks.mdl is no relative path"),
        ('"~/blocks.mdl"', "~/blocks.mdl is no relative path"),
        ('"c:/blocks.mdl"', "c:/blocks.mdl is no relative path"),
        ('"a\\\\blocks.mdl"', "a\\blocks.mdl is no relative path"),
        ('"a\x00b.mdl"', "a\x00b.mdl is no relative path"),
        ('"../blocks.mdl"', "../blocks.mdl lies outside the folder of the model's file"),
        ('"a/../../blocks.mdl"', "a/../../blocks.mdl lies outside the folder of the model's file"),
        ('"../net/blocks.mdl"', "../net/blocks.mdl lies outside the folder of the model's file"),
        ('""', " is no library, and no file of the language"),
        ('".mdl"', "cannot read .mdl: No such file or directory"),
        ("block.mdl", "cannot read block.mdl: No such file or directory"),
        ("folder.mdl", "cannot read folder.mdl: Is a directory"),
        ("pipe.mdl", "pipe.mdl is no file"),
        ("out.mdl", "out.mdl is a link that leads out of the folder of the model"),
        ("way/out.mdl", "way/out.mdl is a link that leads out of the folder of the model"),
        ("bytes.mdl", "bytes.mdl is no text in UTF-8 (byte 2)"),
        ("stdd", "stdd is no library, and no file of the language"),
        ("net.mdl", "net.mdl uses this file itself"),
        ('"' + "a" * 300 + '.mdl"', "cannot read " + "a" * 300 + ".mdl: File name too long"),
    ],
)
def test_what_is_not_read(tmp_path: Path, place: str, message: str) -> None:
    folder = tmp_path / "net"
    (folder / "folder.mdl").mkdir(parents=True)
    (tmp_path / "secret.mdl").write_text(SCALE + INNER)
    (folder / "blocks.mdl").write_text(SCALE + INNER)
    (folder / "bytes.mdl").write_bytes(b"# \xff")
    (folder / "out.mdl").symlink_to("../secret.mdl")
    (folder / "way").symlink_to("..")
    os.mkfifo(folder / "pipe.mdl")
    (folder / "net.mdl").write_text(user(place))
    error = failure(lambda: load_path(folder / "net.mdl"))
    assert (error.code, error.message) == ("use", message)
    assert error.span is not None
    assert (error.span.line, error.span.column) == (1, 5)
    if place == "block.mdl":
        assert error.help == "did you mean blocks.mdl?"


def test_a_link_within_the_folder_is_followed(net: Write, tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "real.mdl").write_text(SCALE + INNER)
    (tmp_path / "blocks.mdl").symlink_to("deep/real.mdl")
    assert len(net(net=user("blocks.mdl"))) == 6


def test_a_circle_of_files(net: Write) -> None:
    error = failure(lambda: net(net=user("a.mdl"), a="use b.mdl (Inner)\n" + SCALE,
                                b="\nuse a.mdl (Scale)\n" + INNER))  # fmt: skip
    assert (error.code, error.message) == ("use", "a.mdl uses this file itself")
    assert str(error.span).endswith("b.mdl:2:5")
    shown = [(note.text, Path(str(note.span)).name) for note in error.notes]
    assert shown == [
        ("by way of this line", "a.mdl:1:5"), ("used here", "a.mdl:1:5"),
        ("used here", "net.mdl:1:5"),
    ]  # fmt: skip


def test_more_files_than_are_read(net: Write) -> None:
    texts = {f"f{i}": f"use f{i + 1}.mdl (Scale)\n{INNER}" for i in range(FILES + 2)}
    assert failure(lambda: net(net=user("f0.mdl"), **texts)).code == "limit"


def test_files_that_are_long_together(net: Write) -> None:
    long = "# " + "x" * 600_000 + "\n"
    net(net=user("blocks.mdl"), blocks=SCALE + INNER + long)
    error = failure(lambda: net(net=user("blocks.mdl") + long, blocks=SCALE + INNER + long))
    assert error.code == "limit"


# --------------------------------------------------------------------------------- whose error


def test_an_error_stands_in_the_file_that_has_it(net: Write) -> None:
    wrong = SCALE.replace("linear(width)", "linaer(width)")
    error = failure(lambda: net(net=user("blocks.mdl"), blocks=wrong + INNER))
    assert (error.code, Path(str(error.span)).name) == ("name", "blocks.mdl:4:14")
    assert [Path(str(note.span)).name for note in error.notes] == ["net.mdl:6:14"]
    error = failure(lambda: net(net=user("blocks.mdl"), blocks=SCALE + "block A:\n    y = = 2\n"))
    assert (error.code, Path(str(error.span)).name) == ("syntax", "blocks.mdl:6:9")
    assert [Path(str(note.span)).name for note in error.notes] == ["net.mdl:1:5"]


def test_errors_of_two_files_are_told_together(net: Write) -> None:
    text = user("blocks.mdl", "Scale, Scal") + "block relu:\n  in x: f32[]"
    errors = failure(lambda: net(net=text, blocks=SCALE + INNER))
    assert isinstance(errors, MlcErrors)
    assert [e.code for e in errors.errors] == ["name", "duplicate", "out"]
    assert errors.errors[0].help == "did you mean Scale?"


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        ("use std (MLP, Residual)", "name", "std defines no Residual"),
        ("use std (MLP as relu)", "duplicate", "relu is an op and cannot be defined again"),
        ("use std (MLP, MLP)", "duplicate", "MLP is used twice"),
        ("use std (MLP)\nuse std (SwiGLU as MLP)", "duplicate", "MLP is used twice"),
        ("use std (MLP as Net)", "duplicate", "Net is used and defined too"),
        ("use std", "syntax", "this line does not say what it uses"),
        ("use std ()", "syntax", "`)` does not fit here: a name is expected"),
        ("use a / b.mdl (C)", "syntax", "a space within a path"),
        ("use ../b.mdl (C)", "syntax", "`.` does not fit here"),
        ("use 3 (C)", "syntax", "`3` does not fit here"),
    ],
)
def test_lines_that_use_nothing(line: str, code: str, message: str) -> None:
    error = failure(lambda: load(f"{line}\n{MAIN}"))
    assert (error.code, error.message) == (code, message)


# ----------------------------------------------------------------------------------------- layout


def test_layout_of_use_lines() -> None:
    ugly = 'use   a/b-c.mdl(A,B  as  C ,)# why\nuse "x y.mdl"( A\n  as B,\n   C)\n' + MAIN
    assert format(ugly).startswith(
        'use a/b-c.mdl (A, B as C,)   # why\nuse "x y.mdl" (A\n    as B,\n    C)\n\nmodel Net'
    )
    assert format(format(ugly)) == format(ugly)
