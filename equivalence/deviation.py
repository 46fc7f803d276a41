"""Known differences of a framework's own layers, which an artefact declares and never hides.

The reference is given the same difference, and the target is compared at full precision.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..backends.artefact import Deviation
from ..compiler.graph import Node
from .reference import Feed, Joint, Key, Truth


def _biased(node: Node, arrays: Any, results: Any) -> Any:
    """A running variance that takes in the biased variance of the batch."""
    x, old = arrays[0], arrays[_slot(node, "running_var")]
    count = x.size / x.shape[1]
    momentum = node.attrs["momentum"]
    kept = (1 - momentum) * old
    y, mean, variance = results
    return y, mean, kept + (variance - kept) * (count - 1) / count


def _slot(node: Node, name: str) -> int:
    names = (*node.op.inputs, *node.op.weights)
    return next(i for i, each in enumerate(names) if each.rstrip("?") == name)


FORMULAS: Mapping[str, tuple[str, str, Callable[[Node, Any, Any], Any]]] = {
    "running_var": ("batch_norm", "running_var", _biased),
}
"""Name -> the op, the weight of its that is declared, and what becomes of the op's results."""


STEPS = frozenset({"summed_bias"})
"""Those that only a step of an optimiser shows, of which verify makes none."""


def unknown(deviations: Sequence[Deviation]) -> list[Deviation]:
    """Those that no formula here stands for: what they name cannot be judged."""
    return [deviation for deviation in deviations if deviation.name not in {*FORMULAS, *STEPS}]


def deviate(joint: Joint, feed: Feed, truth: Truth, deviations: Sequence[Deviation]) -> Truth:
    """`truth` as an artefact with these deviations should have it; only updates change."""
    known = [deviation for deviation in deviations if deviation.name in FORMULAS]
    if not known or not any(key.kind == "update" for key in truth):
        return truth

    def apply(node: Node, arrays: Any, results: Any) -> Any:
        for deviation in known:
            op, part, formula = FORMULAS[deviation.name]
            if node.op.name == op and _is_named(node, part, deviation.tensors):
                results = formula(node, arrays, results)
        return results

    found = joint.run(feed, perturb=apply)
    return {key: found[key] if key.kind == "update" else array for key, array in truth.items()}


def _is_named(node: Node, part: str, tensors: Sequence[str]) -> bool:
    return node.layer is not None and node.layer.weights[part].path in tensors


def touched(deviations: Sequence[Deviation]) -> dict[Key, str]:
    """What unknown deviations name, and why it is not judged."""
    return {
        Key(kind, name): f"the artefact declares a deviation {deviation.name} that verify has not"
        for deviation in unknown(deviations)
        for name in deviation.tensors
        for kind in ("output", "update")
    }
