"""mlc translates models between frameworks, as readable source that is proven equal.

    graph = mlc.load("net.mdl")
    artefact = mlc.compile(graph, target="pytorch")
    artefact.save("out")
    mlc.verify(graph, targets=["pytorch", "jax"]).assert_equivalent()

Importing this imports nothing else; each function imports what it needs when it is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from .backends.artefact import Artefact
    from .compiler.diagnose import MlcError
    from .compiler.graph import Graph
    from .compiler.tensor import Array
    from .equivalence import Report

__version__ = "0.1.0"

__all__ = ["Artefact", "Graph", "MlcError", "Report", "__version__", "compile", "load", "verify"]

_HOMES = {
    "Artefact": ".backends.artefact",
    "Graph": ".compiler.graph",
    "MlcError": ".compiler.diagnose",
    "Report": ".equivalence",
}


def load(source: str | Path, model: str | None = None, **params: Any) -> Graph:
    """The graph of a model.

    `source` is the path of a .mdl file, or the text itself; a string that ends with a suffix of a
    model file, or is one line and names a file that exists, is a path. `model` chooses where the
    source has several (None: the only one), and `params` sets its hyper-parameters. A file may use
    others of its folder, a text only libraries. Raises
    MlcError; `file` for one that cannot be read, `import` for a kind that mlc does not read.
    """
    from pathlib import Path

    from .request import read

    text, name = read(source)
    from .frontends.mdl import load as load_mdl

    folder = None if name == "<text>" else Path(name).parent
    return load_mdl(text, name, model=model, params=params, folder=folder)


def compile(
    graph: Graph,
    target: str,
    weights: str | Path | Mapping[str, Array] | None = None,
    *,
    name: str | None = None,
    keep_layout: bool = False,
    ir: bool = False,
    gradients: bool = False,
    training: bool = False,
    tpu: bool = False,
    scan_layers: bool = False,
    style: str | None = None,
) -> Artefact:
    """The model as source of `target`, one of `mlc.backends.TARGETS`; needs no framework.

    `weights` are canonical tensors, or a safetensors file of them, and must be just the model's.
    `name` is the stem of the files; by default that of the .mdl file, or the model's in snake case.
    `keep_layout` keeps the source's order of axes where the target would store channels last.
    `ir` adds OpenVINO's IR in f32 (`<name>.xml` and `.bin`) to the files of the target `openvino`,
    with the weights, or starting values where none are given; a process that has OpenVINO makes it.
    `gradients` makes a model that also computes those by every float input and trainable weight,
    for targets whose framework has none; `artefact.interface.gradients` says which they are.
    `training` makes a file of the training mode, for the target `onnx`, whose files have one mode:
    masks of dropout are inputs, and buffers after the call are outputs.
    `tpu` makes a file for TPUs, for the target `jax`: matrices are multiplied in bfloat16, and the
    functions `apply` and `export` compile a call and lower it for a TPU.
    `scan_layers` makes a file, for the target `jax`, in which equal blocks one after the other are
    one whose weights are stacked, and which is compiled once.
    `style` is another way to write the same, for the target `jax`: "functional" makes pure
    functions `init` and `apply` of nested dictionaries of arrays, in place of Flax modules.
    """
    from .request import artefact

    return artefact(
        graph, target, weights, name, keep_layout, ir=ir, gradients=gradients, training=training,
        tpu=tpu, scan_layers=scan_layers, style=style,
    )  # fmt: skip


def verify(
    graph: Graph,
    targets: Iterable[str] | None = None,
    weights: str | Path | Mapping[str, Array] | None = None,
    *,
    seeds: int | Sequence[int] = 1,
    modes: Sequence[str] | None = None,
    progress: Callable[[int, int, str], None] | None = None,
    faults: bool = False,
    tpu: bool = False,
    scan_layers: bool = False,
    style: str | None = None,
    folders: Iterable[str | Path] = (),
) -> Report:
    """Whether the emitted files compute what the graph means; `report.assert_equivalent()` raises.

    The artefacts of `targets` (None: all) are written to a temporary folder and run there, each
    framework in a process of its own. `weights` are as for `compile`; without them, ones are drawn
    that make faults visible. `seeds` says how many sets of inputs are drawn, or which; `modes` are
    "inference" and "training" (None: both). `progress` is called with steps done, steps in all,
    and a text. `faults` also plants every known kind of fault in the reference, and says in
    `report.sights` which the run would have seen. `tpu` looks at the files of `tpu` in `compile`:
    that they multiply in bfloat16 when lowered for a TPU, and are off by no more than its rounding
    explains. `scan_layers` and `style` are those of `compile`, of the targets that have them.
    `folders` are such that `compile` wrote, whose source may have been edited since: they are run
    in the place of what it would write for their targets, alone if `targets` is None. An engine
    that is missing or dies is in the report.
    """
    from .request import verify as run

    return run(
        graph, targets, weights, seeds, modes, progress, faults=faults,
        tpu=tpu, scan_layers=scan_layers, style=style, folders=folders,
    )  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = globals()[name] = getattr(import_module(_HOMES[name], __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
