"""The table of operators and targets: which write an operator by a form of their own."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .compiler.diagnose import MlcError
from .render import CYAN, GREEN, OFF, RED, YELLOW

if TYPE_CHECKING:
    from .backends.support import Support
    from .compiler.op import Op

LEGEND = (
    "idiomatic: a form of the target's own; body: in smaller operators; partly 3/5: a\n"
    "form of its own for 3 of 5 samples, the others in smaller ones; refused: an error"
)
COLOURS = {"idiomatic": GREEN, "partly": CYAN, "body": YELLOW, "refused": RED}
SIGNATURE = 34
"""Columns of the operators; one that needs more pushes its line to the right."""


def chosen(words: Sequence[str]) -> list[Op]:
    """The operators whose names hold one of these words; all if there are none.

    MlcError `usage` for a word that no name holds.
    """
    from .compiler.ops import OPS
    from .request import did_you_mean

    for word in words:
        if not any(word in name for name in OPS):
            text = f"no operator has {word!r} in its name"
            raise MlcError("usage", text, help=did_you_mean(word, [*OPS]) or "see `mlc ops`")
    return [op for name, op in OPS.items() if not words or any(word in name for word in words)]


def table(ops: Iterable[Op], targets: Sequence[str], *, colour: bool, width: int | None) -> str:
    """A line for each operator: its inputs, what each target makes of it, what it means.

    With `width`, that of a terminal, there is a heading, a legend and a count, and what an operator
    means is cut to the width.
    """
    from .backends.support import support

    rows = [(op, support(op, targets)) for op in ops]
    columns = {t: max([len(t), *(len(cell(row[t])) for _, row in rows)]) for t in targets}
    left = None if width is None else width - SIGNATURE - sum(n + 2 for n in columns.values()) - 2
    lines = [
        _line(
            signature(op),
            [_coloured(row[t], columns[t], colour) for t in targets],
            meaning(op) if left is None else meaning(op)[: max(left, 0)],
        )
        for op, row in rows
    ]
    if width is not None:
        heading = _line("operator", [t.ljust(columns[t]) for t in targets], "")
        lines = [heading, *lines, "", LEGEND, _count(row for _, row in rows)]
    return "\n".join(lines)


def signature(op: Op) -> str:
    """`conv(x)`."""
    return f"{op.name}({', '.join(op.inputs)})"


def meaning(op: Op) -> str:
    """The first sentence of what an operator means."""
    return re.split(r"\.\s+(?=[A-Z])", op.doc, maxsplit=1)[0].rstrip(".")


def cell(found: Support) -> str:
    """`idiomatic`, `partly 3/5`, `body`, `refused`, or one of these and `1 refused`."""
    text = found.form
    if text == "partly":
        text += f" {found.rows}/{found.samples}"
    some = 0 < found.refused < found.samples
    return f"{text}, {found.refused} refused" if some else text


def listed(ops: Iterable[Op], targets: Sequence[str]) -> list[dict[str, Any]]:
    """The same for programs."""
    from .backends.support import REFUSED, support

    return [
        {
            "op": op.name,
            "inputs": list(op.inputs),
            "weights": list(op.weights),
            "meaning": meaning(op),
            "targets": {
                target: _fields(found, REFUSED.get((op.name, target)))
                for target, found in support(op, targets).items()
            },
        }
        for op in ops
    ]


def _fields(found: Support, refusal: Any) -> dict[str, Any]:
    fields = {"form": found.form, "samples": found.samples, "idiomatic": found.rows}
    if refusal is not None:
        more = {"refused": list(refusal.samples), "why": refusal.why, "probe": refusal.probe}
        fields |= more
    return fields


def _line(first: str, cells: Sequence[str], last: str) -> str:
    return "  ".join([first.ljust(SIGNATURE), *cells, last]).rstrip()


def _coloured(found: Support, width: int, colour: bool) -> str:
    text = cell(found).ljust(width)
    return f"{COLOURS[found.form]}{text}{OFF}" if colour else text


def _count(rows: Iterable[Mapping[str, Support]]) -> str:
    """`205 operators: 659 cells idiomatic, 73 partly, 293 body, 0 refused`."""
    rows = list(rows)
    forms = Counter(found.form for row in rows for found in row.values())
    each = ", ".join(f"{forms[name]} {name}" for name in COLOURS)
    return f"{len(rows)} operator{'s' * (len(rows) != 1)}, in all targets together: {each}"
