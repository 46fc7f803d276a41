"""The files around the package: what they say of releases must be one story."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from mlc.backends import TARGETS

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LINES = (ROOT / "constraints.txt").read_text().splitlines()
PINS = dict(line.split("==") for line in LINES if not line.startswith("#"))
RELEASES = {canonicalize_name(name): version for name, version in PINS.items()}


def _requirements() -> list[Requirement]:
    project = PROJECT["project"]
    extras = [text for texts in project["optional-dependencies"].values() for text in texts]
    texts = [*project["dependencies"], *extras, *PROJECT["build-system"]["requires"]]
    return [r for r in map(Requirement, texts) if r.name != "mlc"]


def test_the_tested_release_of_everything_is_pinned_and_within_its_range() -> None:
    for requirement in _requirements():
        version = RELEASES[canonicalize_name(requirement.name)]
        assert version in requirement.specifier, requirement
    assert all(re.fullmatch(r"[0-9][0-9.]*", version) for version in RELEASES.values())
    assert list(PINS) == sorted(PINS, key=str.lower)


def test_targets_name_the_releases_that_are_tested() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    for target in TARGETS.values():
        assert {Requirement(text).name for text in extras[target.name]} == set(target.versions)
        for package, version in target.versions.items():
            assert RELEASES[canonicalize_name(package)] == version
    assert [Requirement(text).extras for text in extras["all"]] == [set(TARGETS)]


def test_the_installed_releases_are_those_of_the_constraints() -> None:
    from importlib.metadata import version

    names = [r.name for r in _requirements()]
    installed = {canonicalize_name(name): version(name).partition("+")[0] for name in names}
    assert installed == {name: RELEASES[name] for name in installed}


def test_continuous_integration_runs_the_tests_of_the_readme() -> None:
    assert "exec make test" in (ROOT / ".ci/run").read_text()
    assert "make test" in (ROOT / "README.md").read_text()
