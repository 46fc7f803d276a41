"""For a user's own tests: that a model means the same in every framework.

    from mlc.testing import assert_equivalent

    def test_my_net() -> None:
        assert_equivalent("net.mdl", targets=["pytorch", "jax"])

The fixture `assert_equivalent`, which pytest has when mlc is installed, is the same with engines
that start once for all tests.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from .compiler.graph import Graph
    from .compiler.tensor import Array
    from .equivalence import Report
    from .equivalence.engines.pool import Pool
    from .equivalence.report import Finding

SUSPECTS = 3
"""How many of the operators that may be at fault are shown with their lines."""


def assert_equivalent(
    model: str | Path | Graph,
    targets: Iterable[str] | None = None,
    *,
    gradients: bool = True,
    weights: str | Path | Mapping[str, Array] | None = None,
    seeds: int | Sequence[int] = 1,
    modes: Sequence[str] | None = None,
    config: Mapping[str, Any] | None = None,
    folders: Iterable[str | Path] = (),
    pool: Pool | None = None,
) -> Report:
    """Asserts that the emitted files of `targets` (None: all) compute what the model means.

    `model` is the path of a .mdl file, its text, or a graph, and `config` sets hyper-parameters of
    the former two. Without `gradients` only outputs and updated buffers are compared. `weights`,
    `seeds`, `modes` and `folders` are those of `mlc.verify`. The AssertionError names each tensor
    with the ratio of its error to rounding noise, and the operators that differ first with their
    lines.
    """
    __tracebackhide__ = True
    from . import load
    from .compiler.graph import Graph
    from .request import verify

    graph = model if isinstance(model, Graph) else load(model, **(config or {}))
    report = verify(graph, targets, weights, seeds, modes, None, folders=folders, pool=pool)
    if not gradients:
        report.rows = [row for row in report.rows if not row.kind.endswith("gradient")]
    if not report.equal:
        raise AssertionError("\n".join([report.text(), *_lines(graph, report.findings)]))
    return report


def _lines(graph: Graph, findings: Iterable[Finding]) -> Iterator[str]:
    """The lines of the model in which the operators stand that differ first."""
    sources = {node.span.source.name: node.span.source for node in graph if node.span}
    shown = set()
    for finding in findings:
        for suspect in finding.suspects[:SUSPECTS]:
            found = re.fullmatch(r"(.*) at (.*):(\d+):(\d+)", suspect)
            if found is None or found[2] not in sources or suspect in shown:
                continue
            shown.add(suspect)
            line = sources[found[2]].line(int(found[3]))
            yield f"  {found[2]}:{found[3]}: {found[1]}"
            yield f"    {line}"
            yield f"    {' ' * (int(found[4]) - 1)}^"
