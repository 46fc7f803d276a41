"""Weights under foreign names: a file that says which is which of the model's.

# foreign = the model's
wte.weight = token.weight
h.*.ln_1.* = layers.*.layer_norm1.*     # each * is a run of characters without a dot
h.*.attn.bias = -                       # a tensor that the model has no use for
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .compiler.diagnose import MlcError, MlcErrors, Note, Source, Span

if TYPE_CHECKING:
    from .compiler.tensor import Tensors

DROPPED = "-"
"""What a foreign name is set to where the model has no use for the tensor."""


@dataclass(frozen=True)
class Rule:
    """One line: what foreign names it is for, and what they become."""

    foreign: str
    ours: str
    span: Span

    @property
    def exact(self) -> bool:
        return "*" not in self.foreign

    def match(self, name: str) -> str | None:
        """What `name` becomes by this line, if it is for it."""
        pattern = "([^.]+)".join(map(re.escape, self.foreign.split("*")))
        found = re.fullmatch(pattern, name)
        if found is None:
            return None
        parts = iter(found.groups())
        return re.sub(r"\*", lambda _: next(parts), self.ours)


def read(path: str | Path) -> list[Rule]:
    """The lines of a file; `rename` for one that is not `foreign = ours`, and names the line."""
    try:
        source = Source(str(path), Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "it is no text in UTF-8"
        raise MlcError("file", f"cannot read {path}: {why}") from error
    rules, errors = [], []
    for number, text in enumerate(source.text.splitlines(), 1):
        line = re.sub(r"(^|\s)#.*", "", text)
        if line.strip():
            try:
                rules.append(_rule(line, _span(source, number, line)))
            except MlcError as error:
                errors.append(error)
    _raise([*errors, *_repeated(rules)])
    return rules


def _rule(line: str, span: Span) -> Rule:
    words = line.split("=")
    if len(words) != 2 or any(len(word.split()) != 1 for word in words):
        text = "a line says `foreign = ours`, both names without a space or another ="
        raise MlcError("rename", text, span)
    foreign, ours = (word.strip() for word in words)
    if "**" in foreign or "**" in ours:
        raise MlcError("rename", "a * stands for a whole part of a name, and ** for nothing", span)
    if ours != DROPPED and foreign.count("*") != ours.count("*"):
        text = f"{foreign} has {foreign.count('*')} of *, and {ours} has {ours.count('*')}"
        raise MlcError("rename", text, span, help="each * goes where its like stands, in order")
    return Rule(foreign, ours, span)


def _span(source: Source, number: int, line: str) -> Span:
    """The words of a line."""
    start = len(line) - len(line.lstrip())
    return Span(source, number, start + 1, number, len(line.rstrip()) + 1)


def _repeated(rules: Sequence[Rule]) -> Iterator[MlcError]:
    first: dict[str, Rule] = {}
    for rule in rules:
        before = first.setdefault(rule.foreign, rule)
        if before is not rule:
            note = Note("it is here already", before.span)
            yield MlcError("rename", f"{rule.foreign} stands twice", rule.span, notes=[note])


def renamed(file: str | Path, lines: str | Path, wanted: Sequence[str]) -> Tensors:
    """The tensors of a safetensors file by the lines of another: see `read` and `apply`."""
    from .compiler.tensor import read as read_tensors

    rules = read(lines)
    return apply(read_tensors(file), rules, wanted)


def apply(tensors: Tensors, rules: Sequence[Rule], wanted: Sequence[str]) -> Tensors:
    """The tensors under their names in the model, whose weights are `wanted`.

    A line without a * goes before those with one; a tensor that no line is for keeps its name.
    `rename` names the line that is for no tensor, that leads to no weight of the model, and those
    of which two are for one tensor or lead to one weight.
    """
    from .compiler.tensor import Tensors as Renamed

    origins: dict[str, tuple[str, Rule | None]] = {}
    errors: list[MlcError] = []
    for name in tensors:
        rule, error = _choose(name, rules)
        errors += [error] if error is not None else []
        ours = name if rule is None else rule.match(name) or name
        if ours == DROPPED:
            continue
        if ours in origins:
            errors.append(_both(name, rule, ours, *origins[ours]))
        elif rule is not None and not _known(ours, tensors.places[name].dtype, wanted):
            errors.append(_nowhere(name, ours, rule, wanted))
        origins[ours] = (name, rule)
    idle = [rule for rule in rules if all(rule.match(name) is None for name in tensors)]
    _raise([*(_idle(rule, tensors) for rule in idle), *errors])
    places = {ours: tensors.places[name] for ours, (name, _) in origins.items()}
    return Renamed(tensors.path, places)


def _choose(name: str, rules: Sequence[Rule]) -> tuple[Rule | None, MlcError | None]:
    """The one line that is for a tensor."""
    found = [rule for rule in rules if rule.match(name) is not None]
    found = [rule for rule in found if rule.exact] or found
    if len(found) < 2:
        return (found[0] if found else None), None
    notes = [Note("and so is this line", rule.span) for rule in found[1:]]
    text = f"two lines are for {name}"
    return found[0], MlcError("rename", text, found[0].span, notes=notes)


def _known(ours: str, dtype: str, wanted: Sequence[str]) -> bool:
    """Whether it is a weight of the model, or a counter beside one, which is left out later."""
    from .compiler.weight import is_state

    return ours in wanted or is_state(ours, dtype, dict.fromkeys(wanted))


def _both(name: str, rule: Rule | None, ours: str, other: str, before: Rule | None) -> MlcError:
    line = rule or before
    text = f"{other} and {name} both become {ours}"
    return MlcError(
        "rename", text, line.span if line else None, help=f"drop one: `{name} = {DROPPED}`"
    )


def _nowhere(name: str, ours: str, rule: Rule, wanted: Sequence[str]) -> MlcError:
    from .compiler.weight import nearest

    text = f"{name} becomes {ours}, and the model has no weight of that name"
    return MlcError("rename", text, rule.span, help=nearest(ours, wanted, "the model has"))


def _idle(rule: Rule, tensors: Mapping[str, object]) -> MlcError:
    from .compiler.weight import nearest

    text = f"the file has no tensor {rule.foreign}"
    return MlcError("rename", text, rule.span, help=nearest(rule.foreign, [*tensors], "it has"))


def _raise(errors: Sequence[MlcError]) -> None:
    """Raises one error as it is, and several together."""
    if errors:
        raise errors[0] if len(errors) == 1 else MlcErrors(errors)
