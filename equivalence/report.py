"""What verify found: rows, engines, what was not seen; as text, table and JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from .compare import LIMIT, VERDICTS, Row

SHOWN = 12
"""How many faults are shown on the terminal; JSON has all."""

OK, DIFFERENT, BROKEN = 0, 1, 3
"""Exit codes: equal; different or suspicious; an engine is missing or died."""


@dataclass(frozen=True)
class EngineReport:
    """What a target ran on, or why it did not: `problem` is "missing" or "died", else empty."""

    target: str
    versions: dict[str, str] = field(default_factory=dict)
    device: str = ""
    precision: str = ""
    threads: int = 0
    problem: str = ""
    message: str = ""


@dataclass(frozen=True)
class Unseen:
    """Something that this run could not judge, and why; of every target if none is named."""

    what: str
    reason: str
    target: str = ""


@dataclass(frozen=True)
class Deviated:
    """A known difference that an artefact declares, and that the reference was given too."""

    target: str
    name: str
    formula: str
    tensors: tuple[str, ...]


@dataclass(frozen=True)
class Finding:
    """Where a target first differs.

    `layer` is the path of the first layer whose result is off, "" where all agree and the fault
    comes after them; `lines` are the places in the artefact's source that name it. `suspects` are
    the nodes between it and the last results that agree, as text with their place in the model.
    """

    target: str
    mode: str
    layer: str
    ratio: float
    lines: tuple[str, ...]
    suspects: tuple[str, ...]

    def __str__(self) -> str:
        what = f"the result of {self.layer}" if self.layer else "what follows the last layer"
        where = f" ({', '.join(self.lines)})" if self.lines else ""
        off = f", {self.ratio:.3g} times the rounding noise off" if self.layer else ""
        among = f"; among {', '.join(self.suspects)}" if self.suspects else ""
        return f"{self.target} first differs in {what}{where}{off}{among}"


@dataclass(frozen=True)
class Sight:
    """Whether a run would have seen a kind of fault.

    `verdict` is "seen", "not seen" (at some place that was tried), "no effect" (float64 is the same
    at all of them) or "no place". `ratio` is the smallest of the places tried that have an effect,
    `tensor` what it was measured in, `where` the place.
    """

    fault: str
    family: str
    verdict: str
    places: int = 0
    tried: int = 0
    ratio: float = 0.0
    tensor: str = ""
    where: str = ""

    def __str__(self) -> str:
        where = f" at {self.where}" if self.where else ""
        return f"{self.fault}{where} ({self.ratio:.2g} in {self.tensor})"


@dataclass
class Report:
    """The result of `verify`. `gradient_error` is the reference's own against differences; `sights`
    are the faults that were looked for, if any; `rounding` and `limit` are
    what noise is that of, and how much of it is allowed."""

    model: str
    rows: list[Row] = field(default_factory=list)
    engines: list[EngineReport] = field(default_factory=list)
    unseen: list[Unseen] = field(default_factory=list)
    deviations: list[Deviated] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    sights: list[Sight] = field(default_factory=list)
    gradient_error: float = 0.0
    rounding: str = "f32"
    limit: float = LIMIT

    @property
    def equal(self) -> bool:
        """Whether every target ran, and nothing that was seen differs."""
        return self.exit_code == OK

    @property
    def exit_code(self) -> int:
        """0 equal, 1 different or suspicious, 3 an engine is missing or died."""
        if self.faults:
            return DIFFERENT
        return BROKEN if any(engine.problem for engine in self.engines) else OK

    @property
    def faults(self) -> list[Row]:
        """The rows that are not equal, worst first."""
        bad = [row for row in self.rows if VERDICTS.index(row.verdict) > VERDICTS.index("unseen")]
        return sorted(bad, key=lambda row: (-VERDICTS.index(row.verdict), -row.ratio))

    @property
    def worst(self) -> float:
        """The largest ratio of a row that passed."""
        return max((row.ratio for row in self.rows if row.verdict == "equal"), default=0.0)

    def assert_equivalent(self) -> None:
        """Raises AssertionError, naming the tensors and by how much they are off."""
        if not self.equal:
            raise AssertionError(self.text())

    def text(self) -> str:
        """A summary in a few lines: the faults, and the engines that did not run."""
        lines = [f"{self.model}: {_verdict(self)}"]
        lines += [
            f"  {engine.target} {engine.problem}: {engine.message}"
            for engine in self.engines
            if engine.problem
        ]
        lines += [f"  {_line(row)}" for row in self.worst_of_each()]
        lines += [f"  {finding}" for finding in self.findings]
        return "\n".join(lines)

    def worst_of_each(self) -> list[Row]:
        """Some ten of the faults: the worst of each target, tensor and cause, worst first."""
        found: dict[tuple[str, str, str], Row] = {}
        for row in self.faults:
            cause = row.note if row.verdict == "failed" else str(row.key)
            found.setdefault((row.target, row.verdict, cause), row)
        return list(found.values())[:SHOWN]

    def to_json(self) -> dict[str, Any]:
        """Everything, as JSON holds it; a ratio that is not finite is null."""
        table = {
            "model": self.model,
            "verdict": _verdict(self),
            "exit_code": self.exit_code,
            "limit": self.limit,
            "rounding": self.rounding,
            "gradient_error": self.gradient_error,
            "engines": [asdict(engine) for engine in self.engines],
            "rows": [{**asdict(row), "ratio": row.ratio} for row in self.rows],
            "findings": [asdict(finding) for finding in self.findings],
            "unseen": [asdict(unseen) for unseen in self.unseen],
            "deviations": [asdict(deviation) for deviation in self.deviations],
            "faults": [asdict(sight) for sight in self.sights],
        }
        found: dict[str, Any] = json.loads(json.dumps(_finite(table)))
        return found


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _verdict(report: Report) -> str:
    if report.faults:
        return "different" if report.faults[0].verdict != "suspicious" else "suspicious"
    return "equal" if report.equal else "incomplete"


def _line(row: Row) -> str:
    """One row as text."""
    where = ", ".join(text for text in (row.mode, row.size) if text)
    off = f"{_times(row.ratio)} the rounding noise" if row.ratio else ""
    agreed = f"{max(row.digits, 0):.1f} digits agree" if math.isfinite(row.digits) else ""
    details = "; ".join(text for text in (off, agreed, _shortened(row.note)) if text)
    return f"{row.target}: {row.kind} {row.name} ({where}) is {row.verdict}: {details}"


def _shortened(text: str) -> str:
    """The first lines of a framework's message, which may be long."""
    lines = text.splitlines()
    kept = "\n    ".join(line[:200].strip() for line in lines[:4])
    return kept + ("\n    ..." if len(lines) > 4 else "")


def _times(ratio: float) -> str:
    return f"{ratio:.3g} times" if math.isfinite(ratio) else "without bound,"


# -------------------------------------------------------------------------------- the terminal

COLOURS = {
    "equal": "green",
    "unseen": "dim",
    "suspicious": "yellow",
    "different": "red",
    "failed": "red",
}


def render(report: Report, console: Any) -> None:
    """Prints the report on a rich console: a table, the faults, and what was not seen."""
    console.print(_table(report))
    for row in report.worst_of_each():
        console.print(_line(row), style=COLOURS[row.verdict], markup=False, highlight=False)
    for finding in report.findings:
        console.print(str(finding), markup=False, highlight=False)
    for engine in report.engines:
        if engine.problem:
            text = f"{engine.target} {engine.problem}: {engine.message}"
            console.print(text, style="red", markup=False, highlight=False)
    for line in notes(report):
        console.print(line, style="dim", markup=False, highlight=False)


def notes(report: Report) -> list[str]:
    """What the table does not say: deviations, what was not seen, and what was measured with."""
    lines = [
        f"deviation of {d.target}, {d.name}: {d.formula} ({len(d.tensors)} tensors)"
        for d in report.deviations
    ]
    lines += [
        f"not seen{f' of {unseen.target}' if unseen.target else ''}: {unseen.what}: {unseen.reason}"
        for unseen in report.unseen
    ]
    for engine in report.engines:
        if not engine.problem:
            versions = ", ".join(f"{name} {version}" for name, version in engine.versions.items())
            threads = f"{engine.threads} thread{'s' * (engine.threads != 1)}"
            lines.append(
                f"{engine.target}: {versions}; {engine.device}, {engine.precision}, {threads}"
            )
    sizes = "; ".join(dict.fromkeys(row.size for row in report.rows if row.size))
    lines.append(f"sizes: {sizes}" if sizes else "all sizes are fixed")
    lines.append(
        f"noise: the largest error, in units of what rounding to {report.rounding} does; the limit"
        f" is {report.limit:g}"
    )
    if report.gradient_error:
        away = f"{report.gradient_error:.0e}"
        lines.append(f"the reference's gradient is {away} off a central difference")
    return lines + _sensitivity(report.sights)


def _sensitivity(sights: Sequence[Sight]) -> list[str]:
    """Which faults the run would have seen, and which not."""
    if not sights:
        return []
    groups: dict[str, list[Sight]] = {}
    for sight in sights:
        groups.setdefault(sight.verdict, []).append(sight)
    seen, missed = groups.get("seen", []), groups.get("not seen", [])
    still = [sight.fault for sight in groups.get("no effect", [])]
    lines = [
        f"faults: of {len(seen) + len(missed)} kinds that would change this model, the run would"
        f" have seen {len(seen) if missed else 'all'}; {len(groups.get('no place', []))} others"
        " have no place in it"
    ]
    lines += [f"a fault that it would not have seen: {sight}" for sight in missed]
    return lines + ([f"faults without effect here: {', '.join(still)}"] if still else [])


KINDS = {
    "output": "outputs",
    "input gradient": "input gradients",
    "parameter gradient": "parameter gradients",
    "update": "updates",
    "dropout": "dropout",
    "noise": "draws",
    "product": "products",
}
"""What a row is of, and the heading of its column."""


def _table(report: Report) -> Any:
    """One line for each target and mode: how many tensors of each kind are equal, and the worst."""
    from rich.table import Table

    found = {row.kind for row in report.rows}
    kinds = [kind for kind in KINDS if kind in found]
    table = Table(title=f"{report.model}: {_verdict(report)}", title_justify="left")
    for heading in ("target", "mode"):
        table.add_column(heading, no_wrap=True)
    for heading in (*(KINDS[kind] for kind in kinds), "noise", "digits"):
        table.add_column(heading, justify="right")
    table.add_column("worst tensor")
    for (target, mode), rows in _groups(report.rows).items():
        worst = max(rows, key=lambda row: (VERDICTS.index(row.verdict), row.ratio))
        digits = min(row.digits for row in rows)
        table.add_row(
            target, mode, *(_share(rows, kind) for kind in kinds), _short(worst.ratio),
            f"{max(digits, 0):.1f}" if math.isfinite(digits) else "all",
            f"{worst.kind} {worst.name}",
            style=None if worst.verdict == "equal" else COLOURS[worst.verdict],
        )  # fmt: skip
    return table


def _share(rows: Sequence[Row], kind: str) -> str:
    """How many rows of a kind are equal, of how many."""
    of_kind = [row for row in rows if row.kind == kind]
    good = sum(row.verdict == "equal" for row in of_kind)
    return f"{good}/{len(of_kind)}" if of_kind else ""


def _short(ratio: float) -> str:
    return f"{ratio:.2g}" if math.isfinite(ratio) else "inf"


def _groups(rows: Sequence[Row]) -> dict[tuple[str, str], list[Row]]:
    """By target and mode, in the order of the targets."""
    groups: dict[tuple[str, str], list[Row]] = {}
    order = {target: i for i, target in enumerate(dict.fromkeys(row.target for row in rows))}
    for row in sorted(rows, key=lambda row: (order[row.target], row.mode)):
        groups.setdefault((row.target, row.mode), []).append(row)
    return groups
