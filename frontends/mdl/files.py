"""The files of a model: what `use` lines name is read once, and nothing outside its folder.

A path counts from the folder of the file in which it stands, ends with .mdl, and leads neither by
`..` nor by a symbolic link out of the folder of the model's own file. Libraries are part of the
package.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path, PurePosixPath

from ... import grammar
from ...compiler.diagnose import MlcError, MlcErrors, Note, Source, Span
from ...compiler.op import Op
from . import syntax as s
from .context import Block
from .definitions import block
from .errors import listed, raise_all, suggest, unsupported
from .limits import FILES, LENGTH
from .parse import parse

SUFFIX = ".mdl"
FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)
LIBRARIES = ("std",)
"""Libraries by name. What is in one never changes: another version has another name."""


@dataclass(eq=False, slots=True)
class Unit:
    """A file that is read: its own blocks, and all that its text can name (`home`)."""

    file: s.File
    own: dict[str, Block] = field(default_factory=dict)
    home: dict[str, Block] = field(default_factory=dict)


class Files:
    """Reads the file of a model and all that it uses; `folder` is the file's, if it has one."""

    def __init__(self, ops: Mapping[str, Op], folder: Path | None) -> None:
        self.ops = ops
        self.folder = folder
        self.units: dict[str, Unit] = {}
        self.open: dict[str, s.Use | None] = {}
        self.length = 0

    def main(self, source: Source, file: s.File) -> Unit:
        """The unit of the model's own text; blocks of other files keep out of its names."""
        key = "" if self.folder is None else os.path.realpath(self.folder / Path(source.name).name)
        self.length = len(source.text)
        unit = self._unit(key, PurePosixPath(), file, None)
        for line in file.uses:
            for used in line.names:
                unit.home[used.alias].definition.name = used.alias
        taken = {known.definition.name for known in unit.home.values()}
        for other in self.units.values():
            for known in other.own.values():
                if known not in unit.home.values():
                    known.definition.name = _free(known.definition.name, taken)
                    taken.add(known.definition.name)
        return unit

    def _unit(self, key: str, folder: PurePosixPath, file: s.File, use: s.Use | None) -> Unit:
        """The unit of a file; `folder` is where it lies below the model's."""
        unit = self.units[key] = Unit(file)
        self.open[key] = use
        errors: list[MlcError] = []
        for line in file.uses:
            try:
                unit.home.update(self._names(unit, line, self._used(line, folder)))
            except MlcError as error:
                errors.append(error)
        errors += self._define(unit)
        for refused in file.refused:
            code, message, help = unsupported(refused.keyword)
            errors.append(MlcError(code, message, refused.span, help=help))
        del self.open[key]
        if errors:
            raise_all(errors)
        return unit

    def _define(self, unit: Unit) -> list[MlcError]:
        """Makes the file's own blocks, and returns what is wrong with their headers."""
        errors: list[MlcError] = []
        known: dict[str, s.DefinitionSyntax] = {}
        imported = {used.alias: used.span for line in unit.file.uses for used in line.names}
        for definition in unit.file.definitions:
            name, other = definition.name, known.get(definition.name)
            if other is not None or name in imported:
                note = Note("the other one", other.head if other else imported[name])
                message = f"{name} is defined twice" if other else f"{name} is used and defined too"
                errors.append(MlcError("duplicate", message, definition.head, notes=[note]))
            elif name in self.ops:
                message = f"{name} is an op and cannot be defined again"
                errors.append(MlcError("duplicate", message, definition.head))
            known[name] = definition
        names = {**imported, **known}
        for name, definition in known.items():
            try:
                unit.own[name] = block(definition, names, self.ops, unit.home)
            except MlcError as error:
                errors.append(error)
        unit.home.update(unit.own)
        return errors

    # ----------------------------------------------------------------------------------- use

    def _names(self, unit: Unit, line: s.Use, other: Unit) -> dict[str, Block]:
        """The blocks of a `use` line by the names that they have here."""
        made: dict[str, Block] = {}
        for used in line.names:
            if used.name not in other.own:
                message = f"{line.place.value} defines no {used.name}"
                help = suggest(used.name, other.own) or f"it defines {listed(other.own) or 'none'}"
                raise MlcError("name", message, used.span, help=help)
            if used.alias in self.ops:
                message = f"{used.alias} is an op and cannot be defined again"
                raise MlcError("duplicate", message, used.span,
                               help=f"give it another name: {used.name} as ...")  # fmt: skip
            if used.alias in made or used.alias in unit.home:
                help = f"give one of them another name: {used.name} as ..."
                raise MlcError("duplicate", f"{used.alias} is used twice", used.span, help=help)
            made[used.alias] = other.own[used.name]
        return made

    def _used(self, line: s.Use, folder: PurePosixPath) -> Unit:
        """The unit of the file or library that a line names."""
        place, span = line.place.value, line.place.span
        if place in LIBRARIES:
            return self._read(place, PurePosixPath(), f"<{place}>", line)
        path = _path(place, folder, span)
        if self.folder is None:
            help = f"load it from a file; a text can use {listed(LIBRARIES)}"
            message = f"{place} lies beside no file: this model is a text"
            raise MlcError("use", message, span, help=help)
        real = _real(self.folder, path, span)
        return self._read(real, path.parent, os.path.normpath(self.folder / path), line)

    def _read(self, key: str, folder: PurePosixPath, name: str, line: s.Use) -> Unit:
        """A file that is read now, or was before."""
        span = line.place.span
        if key in self.open:
            circle = list(self.open.values())[list(self.open).index(key) + 1 :]
            notes = [Note("by way of this line", use.place.span) for use in circle if use]
            raise MlcError("use", f"{line.place.value} uses this file itself", span, notes=notes,
                           help="put what both need into a third file")  # fmt: skip
        if key in self.units:
            return self.units[key]
        if len(self.units) >= FILES:
            raise MlcError("limit", f"a model of more than {FILES} files", span)
        source = Source(name, self._text(key, line))
        try:
            return self._unit(key, folder, parse(source), line)
        except MlcError as error:
            self.open.pop(key, None)
            self.units.pop(key, None)
            for each in error.errors if isinstance(error, MlcErrors) else (error,):
                each.notes = (*each.notes, Note("used here", span))
            raise

    def _text(self, key: str, line: s.Use) -> str:
        if key in LIBRARIES:
            return files(grammar).joinpath(f"{key}{SUFFIX}").read_text("utf-8")
        text = _contents(key, line.place)
        self.length += len(text)
        if self.length > LENGTH:
            message = f"the files of a model are longer than {LENGTH} characters"
            raise MlcError("limit", message, line.place.span)
        return text


def _path(place: str, folder: PurePosixPath, span: Span) -> PurePosixPath:
    """The path below the model's folder that is meant; MlcError for one that may lead elsewhere."""
    if not place.endswith(SUFFIX):
        help = suggest(place, LIBRARIES) or f"files end with {SUFFIX}; there is {listed(LIBRARIES)}"
        raise MlcError(
            "use", f"{place} is no library, and no file of the language", span, help=help
        )
    strange = "\\" in place or ":" in place or not place.isprintable()
    if strange or place.startswith(("/", "~")):
        help = "paths count from this file's folder, with / between names"
        raise MlcError("use", f"{place} is no relative path", span, help=help)
    parts: list[str] = list(folder.parts)
    for part in PurePosixPath(place).parts:
        if part == ".." and not parts:
            raise MlcError("use", f"{place} lies outside the folder of the model's file", span)
        if part == "..":
            parts.pop()
        else:
            parts.append(part)
    return PurePosixPath(*parts)


def _real(folder: Path, path: PurePosixPath, span: Span) -> str:
    """The file itself; MlcError where a link leads out of the folder."""
    try:
        root = os.path.realpath(folder)
        real = os.path.realpath(os.path.join(root, path))
    except (OSError, ValueError) as error:
        raise MlcError("use", f"cannot read {path}: {error}", span) from None
    if os.path.commonpath((root, real)) != root:
        raise MlcError("use", f"{path} is a link that leads out of the folder of the model", span)
    return real


def _contents(real: str, place: s.Literal) -> str:
    """The text of a file; a device or pipe is none, and is not waited for."""
    path, span = place.value, place.span
    try:
        with open(os.open(real, FLAGS), "rb") as opened:
            if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
                raise MlcError("use", f"{path} is no file", span)
            data = opened.read(4 * LENGTH + 1)
    except OSError as error:
        help = _near(Path(real))
        raise MlcError("use", f"cannot read {path}: {error.strerror}", span, help=help) from None
    if len(data) > 4 * LENGTH:
        raise MlcError("limit", f"{path} is longer than {LENGTH} characters", span)
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        message = f"{path} is no text in UTF-8 (byte {error.start})"
        raise MlcError("use", message, span) from None


def _near(path: Path) -> str | None:
    """A file beside it whose name is nearly the same."""
    try:
        return suggest(path.name, [e.name for e in path.parent.iterdir() if e.suffix == SUFFIX])
    except OSError:
        return None


def _free(name: str, taken: set[str]) -> str:
    """The name, numbered if it is taken."""
    count, chosen = 1, name
    while chosen in taken:
        count += 1
        chosen = f"{name}{count}"
    return chosen
