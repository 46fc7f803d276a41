"""Shows, after the tests, how far the honest and the faulty ratios are apart."""

from __future__ import annotations

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The largest honest ratio of each target, the ratio of each fault, and the smallest of all."""
    found = [
        (kind, value)
        for report in terminalreporter.stats.get("passed", [])
        for kind, value in report.user_properties
    ]
    honest: dict[str, tuple[float, str]] = {}
    for kind, value in found:
        for target, ratio in value[1].items() if kind == "honest" else ():
            honest[target] = max(honest.get(target, (0.0, "")), (ratio, value[0]))
    faulty = [value for kind, value in found if kind == "faulty"]
    if not honest and not faulty:
        return
    terminalreporter.section("ratios of errors to rounding noise")
    for target, (ratio, name) in honest.items():
        terminalreporter.line(f"honest: {target} at most {ratio:.3g}, in {name}")
    for name, target, ratio in faulty:
        terminalreporter.line(f"faulty: {target} {ratio:.3g}, {name}")
    if faulty:
        name, target, ratio = min(faulty, key=lambda value: value[2])
        terminalreporter.line(f"the smallest faulty ratio: {ratio:.3g}, {name} in {target}")
    for kind, value in found:
        if kind == "visible":
            terminalreporter.line(f"one element of {value[0]} is seen when off by {value[1]:.1e}")
