"""JAX source: a Flax NNX module a block, loaded from a safetensors file by its state's paths."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Set

from ...compiler.graph import Graph, Weight
from ...compiler.passes.features import fold
from ...compiler.passes.layout import Folds, channels_last
from ...compiler.program import Class, Place, Program
from ...compiler.weight import WeightMap
from ..artefact import Artefact, Deviation, Interface, Port, module_name
from ..source.draws import noise_ports
from ..source.module import formatted, join, title
from ..source.names import rename
from ..source.partials import START, Partials
from ..source.prepare import prepare, settled
from ..source.scope import hint
from . import attention, compiled, recurrent, scans
from .layers import CONVENTIONS, native
from .policy import NAMED, NARROWED, PLAIN, Policy
from .printer import Make, Module
from .reserved import LOCALS
from .runs import Runs
from .stacks import stack, stacks
from .weights import entries


@settled
def emit(
    graph: Graph,
    name: str,
    *,
    keep_layout: bool = False,
    tpu: bool = False,
    scan_layers: bool = False,
    style: str | None = None,
    literal: Set[Place] = frozenset(),
) -> Artefact:
    """The artefact for JAX; images are stored channels last, inputs and outputs unless
    `keep_layout`. With `tpu` products are in bfloat16, and the file has functions that compile and
    export a call. With `scan_layers` loops over equal blocks are scans. In the style "functional"
    there are pure functions in place of modules."""
    if style == "functional":
        from . import functional

        return functional.emit(
            graph,
            name,
            keep_layout=keep_layout,
            tpu=tpu,
            scan_layers=scan_layers,
            literal=literal,
        )
    folds: Folds = {}

    def layout(copied: Graph) -> int:
        changes = channels_last(copied, keep_ports=keep_layout, free=True)
        folds.update(fold(copied))
        return changes

    stored, program = prepare(graph, native, layout, literal=literal)
    stem = module_name(name)
    runs = Runs(stored)
    left = stack(program, runs) if scan_layers else []
    policy = Policy(tpu, frozenset(stacks(program)))
    text, arguments = source(stored, program, policy)
    return Artefact(
        "jax",
        stem,
        {f"{stem}.py": text},
        WeightMap(entries(program, folds, runs)),
        Interface(
            program.model.name,
            tuple(
                Port.of(v, v.name, argument=arguments[v.name], optional=v.default is not None)
                for v in stored.inputs
            ),
            tuple(Port.of(v, n) for n, v in stored.outputs.items()),
            _deviations(program.weights),
            noise=noise_ports(graph, stored),
        ),
        notes=tuple(map(str, left)),
    )


def _deviations(weights: Mapping[Weight, object]) -> tuple[Deviation, ...]:
    """NNX' batch norm keeps the biased variance of the batch, the language's the unbiased one."""
    paths = tuple(w.path for w in weights if w.layer is not None and w.part == "running_var")
    formula = "the running variance takes in the batch's biased variance: factor (n - 1) / n"
    return (Deviation("running_var", formula, paths),) if paths else ()


def source(graph: Graph, program: Program, policy: Policy = PLAIN) -> tuple[str, Mapping[str, str]]:
    """The text of the file, and what the model's inputs are called in it."""
    own = LOCALS | policy.names
    names = rename((cls.name for cls in program.classes), own)
    for cls in program.classes:
        cls.name = names[cls.name]
    classes = frozenset(names.values()) | policy.names
    optional = {v.name: v for v in graph.inputs if v.default is not None}
    partials = Partials(CONVENTIONS, "nnx", "jnp", "narrow")

    causal = attention.uses(program, policy).causal <= {True}

    def modules(make: Make, names: frozenset[str]) -> list[Module]:
        bare: set[str] = set()
        return [
            Module(
                cls, names, make, causal, optional, graph.facts, policy, outermost=True, bare=bare
            )
            if cls is program.model
            else Module(cls, names, make, causal, policy=policy, bare=bare)
            for cls in program.classes
        ]

    for module in modules(partials.count, classes):
        module.source()
    settled = modules(partials.made, classes | partials.settle(LOCALS | classes))
    printed = [*recurrent.modules(program, policy), *(module.source() for module in settled)]
    shared = list(partials.source())
    made = "\n".join([*shared, *printed])
    if START in made:
        shared.insert(0, f'{START} = nnx.initializers.variance_scaling(1 / 3, "fan_in", "uniform")')
    pieces = [*_functions(made, program, policy), *printed, _build(program.model, policy)]
    arguments = settled[-1].arguments
    if policy.narrow:
        pieces += compiled.functions(program.model, arguments, optional)
    head = title(program.model, "jax")
    body = join(pieces)
    opening = [_imports(body + made), *([NARROWED] if NAMED.search(made) else [])]
    text = join([head, "\n\n".join([*opening, "\n".join(shared)]), body])
    return formatted(text), arguments


def _imports(body: str) -> str:
    lines = ["from collections.abc import Callable"] if "Callable[" in body else []
    lines += ["from functools import partial"] if "partial(" in body else []
    lines += ["from pathlib import Path\n", "import jax"]
    lines += ["import jax.numpy as jnp"] if "jnp." in body else []
    return "\n".join([*lines, "from flax import nnx", "from safetensors.flax import load_file"])


def _functions(body: str, program: Program, policy: Policy) -> Iterator[str]:
    """What the classes need besides layers."""
    if re.search(r"\buniform\(", body):
        yield (
            "def uniform(fan: int) -> nnx.Initializer:\n"
            '    """Draws from -b to b, where b = 1 / sqrt(fan)."""\n'
            "    return partial(jax.random.uniform, minval=-(fan**-0.5), maxval=fan**-0.5)\n"
        )
    if re.search(r"(?<!\.)\bPReLU\(", body):
        yield PRELU
    if policy.stacks:
        yield from scans.classes(policy.stacks, wide=policy.narrow)
    yield from attention.functions(program, policy)


PRELU = '''class PReLU(nnx.Module):
    """x where it is positive, else x times a slope for each channel, the last axis."""

    def __init__(self, features: int) -> None:
        self.weight = nnx.Param(jnp.full(features, 0.25))

    def __call__(self, x: jax.Array) -> jax.Array:
        return jnp.where(x > 0, x, self.weight[...] * x)
'''


def _build(cls: Class, policy: Policy) -> str:
    kinds = sorted({hint(p.value) for p in cls.params})
    config = f", **config: {' | '.join(kinds)}" if kinds else ""
    given = "**config, " if kinds else ""
    match = ', policy="match_shape"' if policy.stacks else ""
    return f'''def build(weights: str | Path | None = None, *, seed: int = 0{config}) -> {cls.name}:
    """Return the model in training mode, with the weights of a safetensors file if one is given."""
    if weights is None:
        return {cls.name}({given}rngs=nnx.Rngs(seed))
    model = nnx.eval_shape(lambda: {cls.name}({given}rngs=nnx.Rngs(seed)))
    tensors = load_file(weights)
    state = nnx.state(model, (nnx.Param, nnx.BatchStat))
    wanted = {{".".join(map(str, path)): v.shape for path, v in nnx.to_flat_state(state)}}
    if wrong := wanted.items() ^ {{key: x.shape for key, x in tensors.items()}}.items():
        raise ValueError(f"{{weights}} does not fit the model: {{sorted(wrong)}}")
    nnx.update(
        model, nnx.map_state(lambda path, v: v.replace(tensors[".".join(map(str, path))]), state)
    )
    nnx.reseed(model, default=seed{match})
    return model
'''
