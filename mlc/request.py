"""From what a user names (a path or text, a target, a weights file) to what the rooms take."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .compiler.diagnose import MlcError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from .backends.artefact import Artefact
    from .compiler.graph import Graph
    from .compiler.tensor import Array
    from .equivalence import Emitted, Report
    from .equivalence.engines.pool import Pool

SUFFIX = ".mdl"
FOREIGN = {
    ".onnx": "ONNX",
    ".xml": "OpenVINO IR",
    ".pt2": "torch.export",
    ".keras": "Keras",
}
"""Files of models that frameworks write, which mlc knows and does not read."""


def read(source: str | Path) -> tuple[str, str]:
    """The text of a model and its name in diagnostics, from a path or the text itself."""
    if isinstance(source, str) and not _is_path(source):
        return source, "<text>"
    path = Path(source)
    if path.suffix in FOREIGN:
        text = f"{path} is a file of {FOREIGN[path.suffix]}; mlc cannot import from it"
        raise MlcError(
            "import", text, help="write the model in the language of mlc, as a .mdl file"
        )
    try:
        return path.read_text(encoding="utf-8-sig"), str(path)
    except UnicodeDecodeError as error:
        raise MlcError("file", f"{path} is no text in UTF-8 (byte {error.start})") from error
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise MlcError("file", f"cannot read {path}: {why}", help=_near(path)) from error


def _is_path(source: str) -> bool:
    if "\n" in source or "\0" in source:
        return False
    return Path(source).suffix in (SUFFIX, *FOREIGN) or os.path.exists(source)


def _near(path: Path) -> str | None:
    """A file beside `path` whose name is nearly the same."""
    try:
        beside = [entry.name for entry in path.parent.iterdir() if entry.suffix == SUFFIX]
    except OSError:
        return None
    return did_you_mean(path.name, beside)


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """A question for the nearest of the known words, if one is near."""
    from difflib import get_close_matches

    near = get_close_matches(word, list(known), n=1)
    return f"did you mean {near[0]}?" if near else None


def choose(names: Iterable[str]) -> list[str]:
    """Names of targets, each once, with `all` spelled out; MlcError `target` for an unknown one."""
    from .backends import TARGETS

    chosen: dict[str, None] = {}
    for name in names:
        if name != "all" and name not in TARGETS:
            text = f"no target is called {name!r}; there are {', '.join(TARGETS)}"
            raise MlcError("target", text, help=did_you_mean(name, TARGETS))
        chosen |= dict.fromkeys(TARGETS if name == "all" else [name])
    return list(chosen)


def setting(text: str) -> tuple[str, Any]:
    """Name and value of `name=value`; the value is a number, true, false, none, a string or a list.

    MlcError `usage` where it is none of these.
    """
    name, equals, value = text.partition("=")
    name, value = name.strip(), value.strip()
    if not equals or not name.isidentifier() or not value:
        raise MlcError("usage", f"--set takes NAME=VALUE, and {text!r} is not of that form")
    words = {"true": True, "false": False, "none": None}
    if value.isidentifier():
        return name, words.get(value, value)
    import ast

    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        text = f"the value of {name} is no number, string or list: {value[:60]}"
        raise MlcError("usage", text) from None


def artefact(
    graph: Graph,
    target: str,
    weights: str | Path | Mapping[str, Array] | None,
    name: str | None,
    keep_layout: bool,
    *,
    ir: bool = False,
    gradients: bool = False,
    training: bool = False,
    tpu: bool = False,
    scan_layers: bool = False,
    style: str | None = None,
) -> Artefact:
    """As `mlc.compile`."""
    from dataclasses import replace

    from .backends import TARGETS
    from .compiler.passes.mode import require_open
    from .compiler.weight import forms

    (target,) = choose([target])
    if ir and target != "openvino":
        raise MlcError("usage", f"only openvino has an IR, and the target is {target}")
    require_open(graph)
    stem = name if name is not None else _stem(graph)
    tensors = None if weights is None else canonical(graph, weights)
    if tensors is not None:
        graph = _holding(graph, tensors)
    more: dict[str, Any] = _gradients(target) if gradients else {}
    more |= _training(target) if training else {}
    more |= _of_modules(target, tpu=tpu, scan_layers=scan_layers)
    more |= _style(target, style) if style is not None else {}
    made = TARGETS[target].emit(graph, stem, keep_layout=keep_layout, **more)
    made = made if tensors is None else made.with_weights(tensors)
    made = _with_ir(made, graph) if ir else made
    return replace(made, forms=forms(graph.weights))


def _gradients(target: str) -> dict[str, bool]:
    """What asks a target's `emit` for gradients; MlcError `usage` if it writes none."""
    from .backends import TARGETS

    if not TARGETS[target].gradients:
        text = f"a model for {target} comes without gradients of mlc's making"
        able = ", ".join(each.name for each in TARGETS.values() if each.gradients)
        raise MlcError("usage", text, help=f"they are written for {able}; others have their own")
    return {"gradients": True}


def _training(target: str) -> dict[str, bool]:
    """What asks a target's `emit` for a file of the training mode; MlcError `usage` if none."""
    from .backends import TARGETS

    if "training" not in TARGETS[target].gradients:
        text = f"a model for {target} comes in no file of the training mode"
        help = "source for keras, pytorch and jax has both modes; onnx and openvino a file for each"
        raise MlcError("usage", text, help=help)
    return {"training": True}


def _of_modules(target: str, **wanted: bool) -> dict[str, bool]:
    """What asks a target's `emit` for a file for TPUs, or whose layers are scanned; MlcError
    `usage` if it writes none."""
    given = {name: True for name, asked in wanted.items() if asked}
    if given and target != "jax":
        flags = " and ".join(f"--{name.replace('_', '-')}" for name in given)
        raise MlcError("usage", f"{flags} is for the target jax, and the target is {target}")
    return given


def _style(target: str, style: str) -> dict[str, str]:
    """What asks a target's `emit` for another style; MlcError `usage` if it has no such."""
    from .backends import TARGETS

    known = TARGETS[target].styles
    if style not in known:
        have = f"{target} has {', '.join(known)}" if known else f"{target} has one style only"
        help = did_you_mean(style, known)
        raise MlcError("usage", f"there is no style {style!r}: {have}", help=help)
    return {"style": style}


def styled(names: Iterable[str], style: str | None) -> dict[str, str]:
    """The style of each target that has other styles; MlcError `usage` if none of them has."""
    from .backends import TARGETS

    if style is None:
        return {}
    able = [target.name for target in TARGETS.values() if target.styles]
    found = {name: style for name in names if name in able}
    if not found:
        text = f"a style is for the target {', '.join(able)}, which is not asked for"
        raise MlcError("usage", text)
    return found


def _with_ir(made: Artefact, graph: Graph) -> Artefact:
    """The artefact with OpenVINO's IR, of the graph's tensors or starting values."""
    from .backends.openvino.ir import with_ir
    from .compiler.init import initialise

    return with_ir(made, initialise(graph))


def _holding(graph: Graph, tensors: Mapping[str, Array]) -> Graph:
    """A copy of the graph whose weights hold these tensors."""
    from .compiler.clone import clone

    graph, _ = clone(graph)
    for path, weight in graph.weights.items():
        weight.data = tensors[path]
    return graph


def canonical(graph: Graph, weights: str | Path | Mapping[str, Array]) -> Mapping[str, Array]:
    """Tensors for each weight of the graph, checked; from a safetensors file by mmap."""
    from .compiler.tensor import Tensors, dtype_name
    from .compiler.weight import check, fit, forms, load

    if isinstance(weights, (str, Path)):
        return load(weights, graph.weights)
    if isinstance(weights, Tensors):
        return fit(weights, forms(graph.weights))
    found = {key: (dtype_name(array.dtype), array.shape) for key, array in weights.items()}
    check(found, graph.weights, "the mapping")
    return weights


def _stem(graph: Graph) -> str:
    """The name of the model's file, or of the model where it came as text."""
    from .backends.artefact import module_name

    definition = graph.root.definition
    span = definition.span if definition else None
    file = Path(span.source.name) if span else Path()
    return module_name(file.stem if file.suffix == SUFFIX else graph.name)


def emitted(
    graph: Graph,
    target: str,
    folder: str,
    modes: Sequence[str],
    *,
    tpu: bool = False,
    scan_layers: bool = False,
    style: str | None = None,
) -> str | Path | Emitted:
    """Writes what verify runs of a target below `folder`: also the models with gradients."""
    from .backends import TARGETS
    from .equivalence import Emitted

    asked: dict[str, Any] = {"tpu": tpu, "scan_layers": scan_layers, "style": style}
    plain = artefact(graph, target, None, None, False, **asked).save(folder)
    if not (able := TARGETS[target].gradients):
        return plain
    made: dict[str, Path] = {}
    refused = {
        mode: "mlc writes no file of it for this target" for mode in modes if mode not in able
    }
    for mode in (mode for mode in modes if mode in able and mode not in refused):
        training = mode == "training"
        try:
            both = artefact(graph, target, None, None, False, gradients=True, training=training)
            made[mode] = both.save(Path(folder) / mode)
        except MlcError as error:
            refused[mode] = error.message
    return Emitted(plain, made, refused)


def written(graph: Graph, folders: Iterable[str | Path]) -> dict[str, Path]:
    """Folders that mlc compile wrote of this model, edited since or not, by their target.

    MlcError `output` for what is no such folder, `usage` for two of one target or one that also
    computes gradients, `weights-key`, `weights-shape` and `weights-dtype` for another model's.
    """
    from .backends.artefact import read_manifest
    from .compiler.weight import compare, forms
    from .weights import side

    found: dict[str, Path] = {}
    for folder in map(Path, folders):
        manifest = read_manifest(folder)
        target = manifest["target"]
        if target in found:
            raise MlcError("usage", f"{found[target]} and {folder} are both for {target}")
        if manifest["interface"].get("gradients"):
            text = f"{folder} also computes gradients; verify takes the model as it is"
            raise MlcError("usage", text, help="mlc verify without the folder checks gradients")
        compare(side(str(folder)).own, forms(graph.weights), str(folder), "the model")
        found[target] = folder
    return found


def verify(
    graph: Graph,
    names: Iterable[str] | None,
    weights: str | Path | Mapping[str, Array] | None,
    seeds: int | Sequence[int],
    modes: Sequence[str] | None,
    progress: Callable[[int, int, str], None] | None,
    *,
    faults: bool = False,
    tpu: bool = False,
    scan_layers: bool = False,
    style: str | None = None,
    folders: Iterable[str | Path] = (),
    pool: Pool | None = None,
) -> Report:
    """As `mlc.verify`; `pool` lends engines that run already."""
    from tempfile import TemporaryDirectory

    from .backends import TARGETS
    from .equivalence import verify as run
    from .equivalence.case import MODES

    for mode in modes or ():
        if mode not in MODES:
            help = did_you_mean(mode, MODES)
            raise MlcError(
                "usage", f"there is no mode {mode!r}: only {' and '.join(MODES)}", help=help
            )
    drawn = range(seeds) if isinstance(seeds, int) else seeds
    if not drawn:
        raise MlcError("usage", "there is nothing to verify without a seed: it takes 1 or more")
    tensors = None if weights is None else canonical(graph, weights)
    given = written(graph, folders)
    chosen = choose(TARGETS if names is None and not given else names or ())
    styles = styled(chosen, style)
    with TemporaryDirectory(prefix="mlc-") as folder:
        fresh = {
            name: emitted(
                graph, name, folder, modes or MODES,
                tpu=tpu, scan_layers=scan_layers, style=styles.get(name),
            )
            for name in chosen if name not in given
        }  # fmt: skip
        return run(
            graph, fresh | given, weights=tensors, seeds=list(drawn), modes=modes or MODES,
            progress=progress, pool=pool, faults=faults, for_tpu=tpu,
        )  # fmt: skip
