"""What a backend makes: the files of an importable folder, and how the folder is written."""

from __future__ import annotations

import json
import keyword
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ..compiler.diagnose import MlcError
from ..compiler.graph import Input, Value
from ..compiler.tensor import write
from ..compiler.weight import Form, WeightMap
from . import TARGETS

if TYPE_CHECKING:
    from ..compiler.tensor import Array

Content: TypeAlias = "str | bytes | Callable[[], Iterable[bytes | memoryview]]"
"""What a file holds; where that is too much for memory, what gives it piece by piece."""

MANIFEST = "weights.json"
WEIGHTS = "weights.safetensors"
FORMAT = 1
"""The version of the manifest; its key `mlc` marks a folder as written here."""

NOISE = {"normal": "standard normal noise", "uniform": "uniform noise in 0 .. 1"}
"""What the distributions of noise are, in words."""

MODULES = frozenset(
    {"flax", "jax", "keras", "ml_dtypes", "numpy", "onnx", "onnxruntime", "openvino"}
    | {"safetensors", "tensorflow", "torch"}
)
"""What emitted files import besides the standard library: no file may be called so."""


def module_name(name: str) -> str:
    """`name` in snake case, as a module that hides no other: `TinyResNet` is `tiny_resnet`."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    snake = re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_") or "model"
    if snake[0].isdigit():
        snake = f"model_{snake}"
    taken = keyword.iskeyword(snake) or snake in MODULES or snake in sys.stdlib_module_names
    return f"{snake}_" if taken else snake


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output: its name in the model, and as the emitted code calls and stores it.

    `shape` holds the sizes as text, in the emitted code's order of axes: axis i there is axis
    order[i] of the model's (None: the same order). `default` is the number that stands for an input
    which the model may do without, where the emitted code must be given it. `noise` is the
    distribution of what is fresh noise in each call.
    """

    name: str
    argument: str
    dtype: str
    shape: tuple[str, ...]
    order: tuple[int, ...] | None = None
    optional: bool = False
    default: Any = None
    noise: str = ""

    @classmethod
    def of(
        cls,
        value: Value,
        name: str,
        *,
        argument: str = "",
        optional: bool = False,
        default: Any = None,
    ) -> Port:
        """The port of a graph's value, whose `order` the layout pass has set."""
        order = value.order or tuple(range(value.type.rank))
        shape = tuple(str(value.type.shape[axis]) for axis in order)
        moved = None if order == tuple(range(value.type.rank)) else order
        noise = value.noise if isinstance(value, Input) else ""
        own = argument or name
        return cls(name, own, value.type.dtype, shape, moved, optional, default, noise)

    def __str__(self) -> str:
        text = f"`{self.argument}` {self.dtype}[{', '.join(self.shape)}]"
        text += " (may be left out)" if self.optional else ""
        text += f" ({NOISE[self.noise]})" if self.noise else ""
        text += f" ({self.default} where there is none)" if self.default is not None else ""
        return text + (f" (axes {list(self.order)} of the model's)" if self.order else "")


@dataclass(frozen=True, slots=True)
class Deviation:
    """A known difference of a framework's own layer from the language's op.

    `name` is what the harness knows it by, `formula` says it in words, and `tensors` are the
    canonical paths (of weights or buffers) or output names that it shows in.
    """

    name: str
    formula: str
    tensors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Gradients:
    """Which ports of a model that computes its own gradients are not the model's, by their names.

    `cotangents` leads from an output to the input that weighs it, `inputs` and `weights` from an
    input and from the path of a weight to the output that is the gradient of sum(output *
    cotangent) by it.
    """

    cotangents: Mapping[str, str]
    inputs: Mapping[str, str]
    weights: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Interface:
    """How the emitted model is built and called.

    `model` is the class or function of the source that `build` returns an instance of; `weights`
    says whether `build` cannot do without a weights file. With `gradients`, `inputs` hold the
    cotangents too, and `outputs` the gradients. `fed` says that the weights are inputs of the
    model, under the names that they have in a file, besides those in `inputs`. `trees` are what
    `build` returns where the model is no object but a function `apply`, which takes them first.
    `noise` is what the emitted code draws by itself, in the order in which it does.
    """

    model: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    deviations: tuple[Deviation, ...] = ()
    weights: bool = False
    gradients: Gradients | None = None
    fed: bool = False
    trees: tuple[str, ...] = ()
    noise: tuple[Port, ...] = ()


@dataclass(frozen=True, slots=True)
class Artefact:
    """A translated model: its files by name, its weight map, and how it is called.

    `name` is the stem of its source file; `weights` are canonical tensors, if any were given, and
    `forms` the dtype and shape of each canonical tensor that there is. `notes` say what of a wish
    could not be met.
    """

    target: str
    name: str
    files: Mapping[str, Content]
    weight_map: WeightMap
    interface: Interface
    weights: Mapping[str, Array] | None = field(default=None, repr=False)
    forms: Mapping[str, Form] = field(default_factory=dict, repr=False)
    notes: tuple[str, ...] = ()

    @property
    def folder(self) -> str:
        """The name of its folder, which is that of a package."""
        return f"{self.name}_{self.target}"

    @property
    def source(self) -> str:
        """The emitted Python source."""
        text = self.files.get(f"{self.name}.py")
        if not isinstance(text, str):
            raise MlcError("output", f"an artefact for {self.target} has no Python source")
        return text

    def with_weights(self, weights: Mapping[str, Array]) -> Artefact:
        """The same with canonical tensors, which `save` writes as the target wants them."""
        return replace(self, weights=weights)

    def save(self, directory: str | Path = ".") -> Path:
        """Writes the folder `directory/<name>_<target>` and returns its path.

        All or nothing: an older artefact there stays until the new one is whole. A folder that
        holds anything mlc did not write is never replaced (MlcError `output`).
        """
        place = Path(directory) / self.folder
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            _check_replaceable(place)
            fresh = place.with_name(f".{place.name}.{os.urandom(4).hex()}")
            fresh.mkdir()
            try:
                self._write(fresh)
                _put(fresh, place)
            finally:
                _remove(fresh)
        except OSError as error:
            raise MlcError("output", f"cannot write {place}: {error.strerror or error}") from error
        return place

    def build(self, **config: Any) -> Any:
        """The framework's model, built by the emitted code itself, with the weights if given."""
        from tempfile import TemporaryDirectory

        if self.interface.weights and self.weights is None:
            text = f"a model for {self.target} holds its weights, and none were given"
            raise MlcError("weights-file", text, help="compile it with weights")
        with TemporaryDirectory(prefix="mlc_") as directory:
            folder = self.save(directory)
            package = import_package(folder)
            given = () if self.weights is None or self.interface.fed else (folder / WEIGHTS,)
            return package.build(*given, **config)

    def _write(self, folder: Path) -> None:
        texts = {"__init__.py": _init(self), "README.md": _readme(self), **self.files}
        names = sorted({*texts, MANIFEST, *([WEIGHTS] if self.weights is not None else [])})
        for name, content in texts.items():
            with (folder / name).open("wb") as file:
                whole = content.encode() if isinstance(content, str) else content
                file.writelines([whole] if isinstance(whole, bytes) else whole())
        (folder / MANIFEST).write_text(json.dumps(_manifest(self, names), indent=1) + "\n")
        if self.weights is not None:
            write(folder / WEIGHTS, self.weight_map.convert(self.weights))


def import_package(folder: Path) -> Any:
    """Imports an artefact's folder as a package under a name of its own, whatever else has it."""
    from importlib.util import module_from_spec, spec_from_file_location

    name = f"{folder.name}_{os.urandom(4).hex()}"
    spec = spec_from_file_location(name, folder / "__init__.py")
    assert spec is not None
    assert spec.loader is not None
    package = sys.modules[name] = module_from_spec(spec)
    spec.loader.exec_module(package)
    return package


# ------------------------------------------------------------------------- files beside the source


def _manifest(artefact: Artefact, names: list[str]) -> dict[str, Any]:
    interface = asdict(artefact.interface)
    for name in ("gradients", "fed", "trees", "noise"):
        if not interface[name]:
            del interface[name]
    for port in (*interface["inputs"], *interface["outputs"]):
        if not port["noise"]:
            del port["noise"]
    return {
        "mlc": FORMAT,
        "target": artefact.target,
        "name": artefact.name,
        "versions": dict(TARGETS[artefact.target].versions),
        "files": names,
        "interface": interface,
        "tensors": {path: [dtype, *shape] for path, (dtype, shape) in artefact.forms.items()},
        "weights": artefact.weight_map.to_json(),
    }


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """What `weights.json` of a folder holds; MlcError `output` if mlc did not write it."""
    try:
        manifest = json.loads((Path(folder) / MANIFEST).read_bytes())
    except (OSError, ValueError):
        manifest = None
    if not isinstance(manifest, dict) or manifest.get("mlc") != FORMAT:
        raise MlcError("output", f"{folder} is no folder that mlc wrote: no {MANIFEST} of its own")
    return manifest


def read_interface(folder: str | Path) -> tuple[Interface, WeightMap]:
    """How a saved artefact is called, and its weight map."""
    manifest = read_manifest(folder)
    table = manifest["interface"]
    deviations = tuple(
        Deviation(row["name"], row["formula"], tuple(row["tensors"])) for row in table["deviations"]
    )
    ports = {
        side: tuple(
            Port(
                **{**row, "shape": tuple(row["shape"]), "order": row["order"] and (*row["order"],)}
            )
            for row in table.get(side, ())
        )
        for side in ("inputs", "outputs", "noise")
    }
    gradients = table.get("gradients")
    interface = Interface(
        table["model"], ports["inputs"], ports["outputs"], deviations, table["weights"],
        Gradients(**gradients) if gradients else None, table.get("fed", False),
        tuple(table.get("trees", ())), ports["noise"],
    )  # fmt: skip
    return interface, WeightMap.from_json(manifest["weights"])


def _init(artefact: Artefact) -> str:
    functional = bool(artefact.interface.trees)
    names = sorted({"build", *(("apply", "init") if functional else (artefact.interface.model,))})
    exports = ", ".join(f'"{name}"' for name in names)
    return (
        f'"""{artefact.interface.model} for {artefact.target}; README.md says how to use it."""\n\n'
        f"from .{artefact.name} import {', '.join(names)}\n\n__all__ = [{exports}]\n"
    )


def _readme(artefact: Artefact) -> str:
    """Ten lines: what it is, the versions, how to build it, its tensors, its deviations."""
    interface, versions = artefact.interface, TARGETS[artefact.target].versions
    deviations = "; ".join(f"{d.name}: {d.formula}" for d in interface.deviations)
    given = f'"{artefact.folder}/{WEIGHTS}"' if artefact.weights is not None else '"FILE"'
    optional = given if interface.weights or artefact.weights is not None else ""
    optional = "" if interface.fed else optional
    lines = [
        f"# {interface.model} for {artefact.target}",
        "",
        *_usage(artefact, optional),
        "",
        f"- written by mlc, tested with {', '.join(f'{k} {v}' for k, v in versions.items())}",
        f"- inputs: {_listed(interface.inputs, interface)}",
        f"- outputs: {_listed(interface.outputs, interface)}",
        f"- deviations from the model: {deviations or 'none'}",
        f"- `{MANIFEST}` maps each tensor of a weights file to the model's own;"
        " `mlc weights convert` brings them to another framework",
    ]
    if interface.noise:
        lines.append(f"- drawn at each call: {', '.join(map(str, interface.noise))}")
    lines += [f"- {note}" for note in artefact.notes]
    if interface.gradients is not None:
        lines.append(_gradients(interface.gradients))
    if interface.fed:
        lines.append(f"- the weights are inputs: `safetensors.numpy.load_file({given})`, by name")
    if f"{artefact.name}.xml" in artefact.files:
        pair = f"`{artefact.name}.xml` and `{artefact.name}.bin`"
        what = "the model" if interface.fed else "the model with its weights"
        lines.append(f"- {pair}: {what}, as OpenVINO's IR in f32")
    return "\n".join(lines) + "\n"


def _usage(artefact: Artefact, weights: str) -> list[str]:
    """How the model is built; called, where it is a function."""
    interface = artefact.interface
    trees = ", ".join(interface.trees)
    if not trees:
        return [f"    from {artefact.folder} import build", f"    model = build({weights})"]
    key = ["noise_key=jax.random.key(0)"] if interface.noise else []
    given = ", ".join([*interface.trees, *(port.argument for port in interface.inputs), *key])
    made = ", ".join([*(port.argument for port in interface.outputs), *interface.trees[1:]])
    return [
        f"    from {artefact.folder} import apply, build",
        f"    {trees} = build({weights})",
        f"    {made} = apply({given})",
    ]


def _listed(ports: tuple[Port, ...], interface: Interface) -> str:
    """Ports as text, without those that are cotangents or gradients."""
    made = interface.gradients or Gradients({}, {}, {})
    hidden = {*made.cotangents.values(), *made.inputs.values(), *made.weights.values()}
    return ", ".join(str(port) for port in ports if port.name not in hidden) or "none"


def _gradients(made: Gradients) -> str:
    """What the names of cotangents and gradients are: as a rule, `grad.` and what they are of."""
    pairs = [*made.cotangents.items(), *made.inputs.items(), *made.weights.items()]
    others = [f"`{title}` for `{name}`" for name, title in pairs if title != f"grad.{name}"]
    text = (
        "- gradients of sum(output * cotangent): the cotangent of an output NAME is the input"
        " `grad.NAME`, the gradient by an input or trainable weight NAME the output `grad.NAME`"
    )
    return f"{text}; but {', '.join(others)}" if others else text


# ------------------------------------------------------------------------------ replacing a folder


def _check_replaceable(place: Path) -> None:
    """Raises unless nothing is at `place`, or a folder with nothing but what mlc wrote there."""
    if not os.path.lexists(place):
        return
    if place.is_symlink() or not place.is_dir():
        raise MlcError("output", f"{place} is there already, and no folder that mlc wrote")
    if not any(place.iterdir()):
        return
    written = {*read_manifest(place)["files"], "__pycache__"}
    others = sorted(entry.name for entry in place.iterdir() if entry.name not in written)
    if others:
        text = f"{place} also holds {others[0]}, which mlc did not write and would delete"
        raise MlcError("output", text, help="move it, or choose another folder with -o")


def _put(fresh: Path, place: Path) -> None:
    """Moves `fresh` to `place`; what was there is at `fresh` afterwards."""
    if not place.exists():
        fresh.rename(place)
    elif not _exchange(fresh, place):
        old = fresh.with_name(f"{fresh.name}.old")
        place.rename(old)
        try:
            fresh.rename(place)
        except OSError:
            old.rename(place)
            raise
        old.rename(fresh)


def _exchange(a: Path, b: Path) -> bool:
    """Swaps two folders in one step of the file system; False where the system cannot."""
    import ctypes

    renameat2 = getattr(ctypes.CDLL(None), "renameat2", None) if os.name == "posix" else None
    if renameat2 is None:
        return False
    here, exchange = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of Linux
    failed: int = renameat2(here, os.fsencode(a), here, os.fsencode(b), exchange)
    return failed == 0


def _remove(folder: Path) -> None:
    from shutil import rmtree

    rmtree(folder, ignore_errors=True)
