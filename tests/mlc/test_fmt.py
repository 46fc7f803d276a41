"""`mlc fmt`: in place or only looked at; a file is never half written."""

from __future__ import annotations

from pathlib import Path

UGLY = "# kept\nmodel Net:\n  in x:f32[B,3]\n  out y:f32[B,4]\n  y=x->linear( 4 )  # here\n"
NEAT = """# kept
model Net:
    in  x: f32[B, 3]
    out y: f32[B, 4]
    y = x -> linear(4)  # here
"""


def test_files_are_formatted_in_place(mlc, tmp_path: Path) -> None:
    (tmp_path / "a.mdl").write_text(UGLY)
    (tmp_path / "a.mdl").chmod(0o640)
    (tmp_path / "b.mdl").write_text(NEAT)
    (tmp_path / "link.mdl").symlink_to("a.mdl")
    done = mlc("fmt", "link.mdl", "b.mdl")
    assert (done.code, done.out, done.err) == (0, "formatted link.mdl\n", "")
    assert (tmp_path / "a.mdl").read_text() == NEAT
    assert (tmp_path / "a.mdl").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "link.mdl").is_symlink()
    assert {path.name for path in tmp_path.iterdir()} == {"a.mdl", "b.mdl", "link.mdl"}


def test_check_changes_nothing(mlc, tmp_path: Path) -> None:
    (tmp_path / "a.mdl").write_text(UGLY)
    (tmp_path / "b.mdl").write_text(NEAT)
    done = mlc("fmt", "--check", "a.mdl", "b.mdl")
    assert (done.code, done.out) == (1, "would format a.mdl\n")
    assert (tmp_path / "a.mdl").read_text() == UGLY
    assert mlc("fmt", "--check", "b.mdl").code == 0


def test_what_is_no_model_is_left_alone(mlc, tmp_path: Path) -> None:
    (tmp_path / "a.mdl").write_text(UGLY + "  y = (\n")
    done = mlc("fmt", "a.mdl")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error[syntax]: ")
    assert "--> a.mdl:6" in done.err
    assert (tmp_path / "a.mdl").read_text() == UGLY + "  y = (\n"
