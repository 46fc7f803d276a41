"""What each command does: `options` are those of the command line, the result is the exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from . import load
from .cli import DIFFERENT, EQUAL
from .compiler.diagnose import MlcError
from .request import artefact, choose, did_you_mean, setting, styled

if TYPE_CHECKING:
    from argparse import Namespace

    from rich.console import Console

    from .compiler.graph import Graph
    from .compiler.op import Config, Op
    from .compiler.tensor import Tensors


def _graph(options: Namespace) -> Graph:
    """The model that the options name; what is doubtful about it is said on standard error."""
    settings = dict(setting(text) for text in options.settings)
    graph = load(Path(options.file), options.model, **settings)
    if graph.warnings:
        from .render import render, wants_colour

        for warning in graph.warnings:
            text = render(warning, colour=wants_colour(sys.stderr), kind="warning")
            print(text, file=sys.stderr)
    return graph


def _given(options: Namespace, graph: Graph) -> str | Tensors | None:
    """The weights that the options name, by the lines of --rename if there are any."""
    if options.rename is None:
        weights: str | None = options.weights
        return weights
    if options.weights is None:
        raise MlcError("usage", "--rename says what the tensors of --weights FILE are, and none is")
    from .rename import renamed

    return renamed(options.weights, options.rename, [*graph.weights])


def _names(options: Namespace) -> list[str]:
    """The targets of `--target a,b --target c`."""
    words = [name.strip() for text in options.target for name in text.split(",")]
    return choose(word for word in words if word)


# ---------------------------------------------------------------------------- compile and verify


def compile(options: Namespace) -> int:
    """Writes an artefact for each target, or prints the one source."""
    names = _names(options)
    if options.output == "-" and len(names) != 1:
        raise MlcError("usage", f"-o - prints one target, and {len(names)} are asked for")
    if options.ir and "openvino" not in names:
        raise MlcError("usage", "--ir is for the target openvino, which is not asked for")
    if options.ir and options.output == "-":
        raise MlcError("usage", "--ir writes files, and -o - only prints the source")
    styles = styled(names, options.style)
    graph = _graph(options)
    given = _given(options, graph)
    made = [
        artefact(
            graph, name, given, _stem(options), options.keep_layout,
            ir=options.ir and name == "openvino",
            gradients=options.gradients, training=options.training, tpu=options.tpu,
            scan_layers=options.scan_layers, style=styles.get(name),
        )
        for name in names
    ]  # fmt: skip
    for note in dict.fromkeys(note for each in made for note in each.notes):
        print(f"note: {note}", file=sys.stderr)
    if options.output == "-":
        sys.stdout.write(made[0].source)
        return EQUAL
    for each in made:
        print(f"wrote {each.save(options.output)}")
    return EQUAL


def _stem(options: Namespace) -> str:
    """The name of the artefact: the model's where it was chosen, otherwise the file's."""
    from .backends.artefact import module_name

    return module_name(options.model or Path(options.file).stem)


def verify(options: Namespace) -> int:
    """Compares what the targets compute, and prints a table, or JSON."""
    from . import verify as run
    from .equivalence.case import MODES

    default = ["jax"] if options.tpu or options.scan_layers else None
    names = _names(options) if options.target else default
    if names is None and not options.folders:
        names = _installed()
    graph = _graph(options)
    given = _given(options, graph)
    modes = MODES if options.mode == "both" else [options.mode]
    with _progress() as progress:
        report = run(
            graph, names, given, seeds=options.seeds, modes=modes, progress=progress,
            faults=options.faults, tpu=options.tpu, scan_layers=options.scan_layers,
            style=options.style, folders=options.folders,
        )  # fmt: skip
    if options.json:
        import json

        print(json.dumps(report.to_json(), indent=1))
    else:
        from .equivalence.report import render

        render(report, _console(sys.stdout))
    return report.exit_code


def _installed() -> list[str]:
    """The targets whose framework is here; says which are not."""
    from .backends import TARGETS

    names = [target.name for target in TARGETS.values() if target.installed]
    for target in TARGETS.values():
        if not target.installed:
            print(f"{target.name} is not installed, and is left out", file=sys.stderr)
    if not names:
        raise MlcError("engine", "no target is installed", help="pip install 'mlc[all]'")
    return names


@contextmanager
def _progress() -> Iterator[Callable[[int, int, str], None] | None]:
    """Shows a bar on standard error while it is open, if that is a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=_console(sys.stderr), transient=True) as bar:
        task = bar.add_task("starting the engines", total=None)

        def step(done: int, total: int, text: str) -> None:
            bar.update(task, completed=done, total=total, description=text)

        yield step


def _console(stream: IO[str]) -> Console:
    """A rich console; one that is no terminal is wide enough for the table."""
    from rich.console import Console

    from .render import wants_colour

    return Console(
        file=stream,
        color_system="standard" if wants_colour(stream) else None,
        width=None if stream.isatty() else 160,
        force_terminal=wants_colour(stream) or None,
    )


def weights(options: Namespace) -> int:
    """Converts a file of weights."""
    from .weights import convert, side

    graph = _graph(options) if options.file is not None else None
    source, target = (
        side(name, graph, keep_layout=options.keep_layout) for name in (options.source, options.to)
    )
    count = convert(options.tensors, source, target, options.output)
    print(f"wrote {count} tensor{'s' * (count != 1)} to {options.output}")
    return EQUAL


# ------------------------------------------------------------------------------ check and fmt


def check(options: Namespace) -> int:
    """Prints the signature of a model, and what it costs on a TPU if that is asked for."""
    graph = _graph(options)
    if not options.tpu and (options.sizes or options.json):
        raise MlcError("usage", "--size and --json are for the report of --tpu")
    if not options.json:
        _signature_of(graph)
    if options.tpu:
        from .tpu import report

        report(graph, options.sizes, _console(sys.stdout), as_json=options.json)
    return EQUAL


def _signature_of(graph: Graph) -> None:
    """Prints hyper-parameters, inputs, outputs, facts, and how many parameters there are."""
    definition = graph.root.definition
    params = definition.params if definition else {}
    settings = ", ".join(f"{name} = {_literal(graph.root.values[name])}" for name in params)
    print(f"model {graph.name}({settings})")
    for value in graph.inputs:
        optional = value.default is not None
        default = f" = {_literal(value.default)}" if optional else ""
        print(f"  {'in?' if optional else 'in'} {value.name}: {value.type}{default}")
    for name, output in graph.outputs.items():
        print(f"  out {name}: {output.type}")
    for node in graph:
        if "key" in node.attrs:
            print(f"  noise {node.attrs['key']}: {node.output.type} = {node.attrs['distribution']}")
    if graph.facts:
        print(f"  where {', '.join(map(str, graph.facts))}")
    print(f"  {_count(graph)}")


def _count(graph: Graph) -> str:
    """`101,770 parameters in 4 tensors`, and how much state beside them if there is any."""
    from math import prod

    texts = []
    for trainable, what in ((True, "parameter"), (False, "buffer element")):
        sizes = [prod(w.type.shape) for w in graph.weights.values() if w.trainable == trainable]
        if sizes or trainable:
            total, tensors = sum(sizes), len(sizes)
            numbers = f"{total:,} {what}{'s' * (total != 1)}"
            texts.append(f"{numbers} in {tensors} tensor{'s' * (tensors != 1)}")
    return ", ".join(texts)


def fmt(options: Namespace) -> int:
    """Formats files in place, or says which would change."""
    from .frontends.mdl.format import format
    from .request import read

    changed = 0
    for file in options.files:
        path = Path(file)
        text, _ = read(path)
        formatted = format(text, str(path))
        if formatted == text:
            continue
        changed += 1
        if not options.check:
            _rewrite(path, formatted)
        print(f"{'would format' if options.check else 'formatted'} {path}")
    return DIFFERENT if changed and options.check else EQUAL


def _rewrite(path: Path, text: str) -> None:
    """Puts `text` in the place of a file's in one step, so that it is never half written."""
    from shutil import copymode

    place = path.resolve()
    fresh = place.with_name(f".{place.name}.{os.getpid()}")
    try:
        fresh.write_text(text, encoding="utf-8")
        copymode(place, fresh)
        fresh.replace(place)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise MlcError("output", f"cannot write {path}: {error.strerror}") from error


# --------------------------------------------------------------------------- what there is to know


def explain(options: Namespace) -> int:
    """Prints what a code or an operator means."""
    from .compiler.codes import CODES
    from .compiler.ops import OPS

    topic = options.topic.removeprefix("error[").removesuffix("]")
    if topic not in CODES and topic not in OPS:
        help = did_you_mean(topic, [*CODES, *OPS]) or "`mlc ops` lists the operators"
        raise MlcError("usage", f"{topic!r} is no code of a diagnostic and no operator", help=help)
    texts = [f"error[{topic}]\n{_wrapped(CODES[topic])}"] if topic in CODES else []
    texts += [_operator(OPS[topic])] if topic in OPS else []
    print("\n\n".join(texts))
    return EQUAL


def _wrapped(text: str) -> str:
    from textwrap import fill

    return fill(" ".join(text.split()), 88, initial_indent="  ", subsequent_indent="  ")


def _operator(op: Op) -> str:
    """The signature of an operator, what it means, and its options with their defaults."""
    lines = [_signature(op), _wrapped(op.doc)]
    for name, config in _written(op).items():
        choices = f": {' | '.join(config.choices)}" if config.choices else f": {config.kind}"
        lines.append(f"  {name}{choices}{_default(config.default)}  {config.doc}".rstrip())
    if op.weights:
        more = [f"... {op.weights[-1]}"] if len(op.weights) > 12 else []
        lines.append(f"  weights: {', '.join([*op.weights[: 8 if more else 12], *more])}")
    if op.kinks:
        lines.append(_wrapped(f"where its derivative is a convention: {op.kinks}"))
    if op.effect != "pure":
        effects = {"random": "draws fresh noise in training", "state": "updates state in training"}
        lines.append(f"  {effects.get(op.effect, op.effect)}")
    return "\n".join(lines)


def _signature(op: Op) -> str:
    config = [f"{name}{_default(c.default)}" for name, c in _written(op).items()]
    return f"{op.name}({', '.join([*op.inputs, *config])})"


def _written(op: Op) -> dict[str, Config]:
    """The attributes that a model can give."""
    from .frontends.mdl.attribute import HIDDEN

    return {name: config for name, config in op.config.items() if name not in HIDDEN}


def _default(value: Any) -> str:
    from .compiler.op import REQUIRED

    return "" if value is REQUIRED else f" = {_literal(value)}"


def _literal(value: Any) -> str:
    """A static value as .mdl writes it."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        ends = "[]" if isinstance(value, list) else "()"
        return f"{ends[0]}{', '.join(map(_literal, value))}{ends[1]}"
    return f'"{value}"' if isinstance(value, str) else str(value)


def ops(options: Namespace) -> int:
    """Prints the operators, one a line, with what each target makes of them."""
    from .backends import TARGETS
    from .ops import chosen, listed, table
    from .render import wants_colour

    targets = _names(options) if options.target else list(TARGETS)
    found = chosen(options.words)
    if options.json:
        import json

        print(json.dumps(listed(found, targets), indent=1))
        return EQUAL
    from shutil import get_terminal_size

    width = get_terminal_size().columns if sys.stdout.isatty() else None
    print(table(found, targets, colour=wants_colour(sys.stdout), width=width))
    return EQUAL


def targets(options: Namespace) -> int:
    """Prints the targets: what each emits, and whether its framework is installed."""
    from .backends import TARGETS

    del options
    _table(
        (
            target.name,
            target.emits,
            "installed" if target.installed else f"not installed: pip install '{target.extra}'",
            "tested with " + ", ".join(f"{k} {v}" for k, v in target.versions.items()),
        )
        for target in TARGETS.values()
    )
    return EQUAL


def _table(rows: Iterable[Sequence[str]]) -> None:
    """Prints rows with their columns aligned; a cell too wide for its column stands alone."""
    rows = list(rows)
    widths = [min(34, max(len(row[i]) for row in rows)) for i in range(len(rows[0]))]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())
