"""The file: what it imports, the functions for layers, those for blocks, and how it is loaded."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping

from ....compiler.graph import Graph
from ....compiler.program import Class, Program
from ...source.module import describe, docstring, formatted, join, title
from ...source.names import free, snake
from ...source.scope import Scope, hint
from .. import attention
from ..policy import Policy
from .apply import Function
from .compiled import compiled
from .layers import Layers
from .needs import Known, Needs
from .spelling import pools
from .starts import Start

LOCALS = frozenset(
    {
        "params",
        "state",
        "key",
        "keys",
        "noise_key",
        "noise_keys",
        "train",
        "jax",
        "jnp",
        "math",
        "itertools",
        "partial",
    }
    | {"Params", "State", "Path", "Any", "Iterator", "load_file", "init", "apply", "build"}
    | {"scan", "stacked", "call", "export"}
    | {"split", "copied", "unzip", "uniform", "sdpa", "max_pool", "avg_pool", "path_of"}
)
"""What emitted files import or define, or call so in every function."""


def source(graph: Graph, program: Program, policy: Policy) -> tuple[str, Mapping[str, str]]:
    """The text of the file, and what the model's inputs are called in it."""
    known = Known(program)
    functions, starts = _functions(program)
    fresh = _Fresh({*LOCALS, *functions.values(), *starts.values()})
    helpers = {n: n if n in LOCALS else fresh(n) for n in (*HELPERS, *ATTENTIONS)}
    layers = Layers(program, fresh, policy)
    taken = frozenset(fresh.taken)
    causal = attention.uses(program, policy).causal <= {True}
    optional = {v.name: v for v in graph.inputs if v.default is not None}
    printed: list[str] = []
    for cls in program.classes:
        model = cls is program.model
        start = Start(cls, Scope(cls, (), taken), known, starts, helpers)
        needs = known[cls]
        head = _start_doc(cls, model, needs.state)
        if model or needs.params or needs.state:
            printed.append(start.source(starts[cls.name], head, model, needs))
        function = Function(cls, taken, layers, known, functions, policy, model=model)
        function.body.causal = causal
        doc = describe(cls, facts=graph.facts if model else ())
        doc += _modes(needs) if model else ""
        printed.append(function.source(docstring(doc), optional if model else {}))
        arguments = function.arguments
    blocks = "\n\n\n".join(printed)
    layered = [*layers.source()]
    for name in ATTENTIONS:
        layered[:0] = _init_attention(blocks, helpers[name], name == "init_attention")
    layered += [*_products(program, policy), *pools(blocks)]
    needed = known[program.model]
    build = _build(program.model, needed)
    made = "\n".join([blocks, *layered, build])
    shared = _shared(made, needed.key, helpers, ".astype(jnp.float32)" if policy.narrow else "")
    own = [*compiled(program.model, needed, arguments, optional)] if policy.narrow else []
    body = join([*shared, *layered, blocks, build, *own])
    text = join([title(program.model, "jax", without="flax"), _imports(body), body])
    return formatted(text), arguments


def _functions(program: Program) -> tuple[dict[str, str], dict[str, str]]:
    """What the functions that apply blocks are called, and those that start them."""
    functions, starts = {}, {}
    taken = set(LOCALS)
    for cls in (cls for cls in program.classes if cls is not program.model):
        functions[cls.name] = free(snake(cls.name), taken)
        taken.add(functions[cls.name])
        starts[cls.name] = free(f"init_{functions[cls.name]}", taken)
        taken.add(starts[cls.name])
    model = program.model.name
    return {**functions, model: "apply"}, {**starts, model: "init"}


class _Fresh:
    """Finds names for functions of layers: `attention`, or `attention_layer` beside a block."""

    def __init__(self, taken: Iterable[str]) -> None:
        self.taken = set(taken)

    def __call__(self, wish: str) -> str:
        names = [wish, f"{wish}_layer", *(f"{wish}{number}" for number in range(2, 100))]
        found = next(name for name in names if name not in self.taken)
        self.taken.add(found)
        return found


def _start_doc(cls: Class, model: bool, state: bool) -> str:
    what = "parameters and state" if state else "parameters"
    return f'"""The {what} of {"the model" if model else f"`{cls.name}`"}, as they start."""'


def _modes(needs: Needs) -> str:
    """What the arguments `train` and `key` do."""
    lines = ["With `train`, batches are normalised by themselves."] if needs.train else []
    if needs.masked:
        lines = ["With `train`, batches are normalised by themselves, and masks drop elements."]
    lines += ["Noise is drawn by `noise_key`."] if needs.noise else []
    lines += ["Dropout draws by `key`; without one nothing is dropped."] if needs.key else []
    text = "\n    ".join(lines)
    return f"\n\n    {text}\n    " if lines else ""


def _products(program: Program, policy: Policy) -> Iterator[str]:
    for text in attention.products(attention.uses(program, policy), policy):
        yield text.replace("nnx.", "jax.nn.")


def _imports(body: str) -> str:
    lines = [f"import {name}" for name in ("itertools", "math") if f"{name}." in body]
    abstract = [name for name in ("Callable", "Iterator") if f"{name}[" in body]
    lines += [f"from collections.abc import {', '.join(abstract)}"] if abstract else []
    lines += ["from functools import partial"] if "partial(" in body else []
    lines += ["from pathlib import Path", "from typing import Any\n", "import jax"]
    lines += ["import jax.numpy as jnp"] if "jnp." in body else []
    lines += ["from safetensors.flax import load_file\n"]
    lines += ["Params = dict[str, Any]", '"""Arrays to learn, in dictionaries and lists."""']
    if "State" in body:
        lines += ["State = dict[str, Any]", '"""Arrays that a call replaces, likewise."""']
    return "\n".join(lines)


def _shared(body: str, draws: bool, names: Mapping[str, str], wide: str) -> Iterator[str]:
    """The helpers that the other functions call, each before those that call it."""
    texts = {**HELPERS, **(WITH_KEYS if draws else {})}
    needed: list[str] = []
    for name, text in reversed(texts.items()):
        if re.search(rf"(?<![\w.]){names[name]}\(", body):
            text = text.replace(f"def {name}(", f"def {names[name]}(")
            needed.insert(0, text.replace("WIDE", wide))
            body += text.partition(":")[2]
    yield from needed


SPLIT = '''def split(key: jax.Array) -> Iterator[jax.Array]:
    """Keys without end, split off from one."""
    while True:
        key, one = jax.random.split(key)
        yield one
'''

SPLIT_OR_NONE = '''def split(key: jax.Array | None) -> Iterator[Any]:
    """Keys without end, split off from one; None where there is none."""
    while True:
        key, one = (None, None) if key is None else jax.random.split(key)
        yield one
'''

STEP = """
    def step(x: jax.Array, layer: tuple[Any, ...]) -> tuple[jax.Array, list[Any]]:
        y = block(x, *layer)
        x, *more = y if isinstance(y, tuple) else (y,)
        return xWIDE, more

    x, more = jax.lax.scan(step, xWIDE, layers)
    return (x, *more) if more else x
"""
"""How either `scan` ends."""

SCAN = (
    '''def scan(block: Callable[..., Any], x: jax.Array, *layers: Any) -> Any:
    """Apply stacked layers one after the other, as one that is compiled once.

    Each takes x and its slice of the arrays in `layers`; what they give besides x is stacked.
    """
'''
    + STEP
)

SCAN_WITH_KEYS = (
    '''def scan(
    block: Callable[..., Any], x: jax.Array, *layers: Any, key: jax.Array | None = None
) -> Any:
    """Apply stacked layers one after the other, as one that is compiled once.

    Each takes x, its slice of the arrays in `layers`, and a key of its own where there is one; what
    they give besides x is stacked.
    """
    if key is not None:
        count = len(jax.tree.leaves(layers)[0])
        layers = (*layers, jax.random.split(key, count))
'''
    + STEP
)

WITH_KEYS = {"split": SPLIT_OR_NONE, "scan": SCAN_WITH_KEYS}
"""Those of models that draw, whose key may be left out."""

HELPERS: Mapping[str, str] = {
    "stacked": '''def stacked(init: Callable[[jax.Array], Any], key: jax.Array, count: int) -> Any:
    """What `count` layers start as, in arrays that have an axis for them in front."""
    return jax.vmap(init)(jax.random.split(key, count))
''',
    "scan": SCAN,
    "path_of": '''def path_of(keys: tuple[Any, ...]) -> str:
    """The name of an array in a weights file: `layers.0.linear.kernel`."""
    return jax.tree_util.keystr(keys, simple=True, separator=".")
''',
    "split": SPLIT,
    "unzip": '''def unzip(pairs: list[tuple[Params, State]]) -> tuple[list[Params], list[State]]:
    """The parameters of several layers, and their states."""
    return [params for params, _ in pairs], [state for _, state in pairs]
''',
    "copied": '''def copied(state: State) -> State:
    """The same arrays in dictionaries and lists of their own."""
    return jax.tree.map(lambda leaf: leaf, state)
''',
    "uniform": '''def uniform(key: jax.Array, shape: tuple[int, ...], fan: float) -> jax.Array:
    """Draws from -b to b, where b = 1 / sqrt(fan)."""
    return jax.random.uniform(key, shape, minval=-(fan**-0.5), maxval=fan**-0.5)
''',
    "init_kernel": '''def init_kernel(key: jax.Array, shape: tuple[int, ...]) -> Params:
    """A kernel (..., in, out)."""
    return {"kernel": uniform(key, shape, math.prod(shape[:-1]))}
''',
    "init_affine": '''def init_affine(key: jax.Array, shape: tuple[int, ...]) -> Params:
    """A kernel (..., in, out) and a bias."""
    (one, other), fan = jax.random.split(key), math.prod(shape[:-1])
    return {"kernel": uniform(one, shape, fan), "bias": uniform(other, shape[-1:], fan)}
''',
    "init_norm": """def init_norm(features: int) -> Params:
    return {"scale": jnp.ones(features), "bias": jnp.zeros(features)}
""",
    "init_batch_norm": """def init_batch_norm(features: int) -> tuple[Params, State]:
    statistics = {"mean": jnp.zeros(features), "var": jnp.ones(features)}
    return {"scale": jnp.ones(features), "bias": jnp.zeros(features)}, statistics
""",
}
"""In an order in which none calls a later one."""


ATTENTIONS = ("init_attention", "init_attention_kernels")
"""What starts the projections of attention: with biases, and without."""


def _init_attention(body: str, name: str, biased: bool) -> Iterator[str]:
    """The start of attention's projections, with what the calls of it say and no more."""
    calls = [
        call for call in ast.walk(ast.parse(body))
        if isinstance(call, ast.Call) and ast.unparse(call.func) == name
    ]  # fmt: skip
    if not calls:
        return
    crossed = any(len(call.args) > 3 for call in calls)
    arguments = ["key: jax.Array", "heads: int", "width: int"]
    arguments += ["source: int | None = None"] if crossed else []
    lines = ['"""Kernels to queries, keys and values of each head, and back to (..., width)."""']
    lines += ["keys, head = split(key), (heads, width // heads)"]
    if crossed:
        lines += [
            "inner = width if source is None else source",
            'inputs = {"query": width, "key": inner, "value": inner}',
        ]
    over = "for part, n in inputs.items()" if crossed else 'for part in ("query", "key", "value")'
    n = "n" if crossed else "width"
    bias = f', "bias": uniform(next(keys), head, {n})' if biased else ""
    last = ', "bias": uniform(next(keys), (width,), width)' if biased else ""
    lines += [
        "params: Params = {",
        f'    part: {{"kernel": uniform(next(keys), ({n}, *head), {n}){bias}}}',
        f"    {over}",
        "}",
        f'params["out"] = {{"kernel": uniform(next(keys), (*head, width), width){last}}}',
        "return params",
    ]
    text = "\n".join(f"    {line}" for line in lines)
    yield f"def {name}({', '.join(arguments)}) -> Params:\n{text}\n"


def _build(cls: Class, needs: Needs) -> str:
    """What loads the weights of a file."""
    state = needs.state
    kinds = sorted({hint(p.value) for p in cls.params if p.name in needs.made})
    config = f", **config: {' | '.join(kinds)}" if kinds else ""
    start = "init(jax.random.key(seed)" + (", **config)" if kinds else ")")
    what, kind = ("parameters and state", "tuple[Params, State]") if state else (
        "the parameters", "Params"
    )  # fmt: skip
    name = "path_of(keys[1:])" if state else "path_of(keys)"
    return f'''def build(weights: str | Path | None = None, *, seed: int = 0{config}) -> {kind}:
    """Return {what}, with the weights of a safetensors file if one is given."""
    if weights is None:
        return {start}
    tree = jax.eval_shape(lambda: {start})
    tensors = load_file(weights)
    wanted = {{{name}: leaf.shape for keys, leaf in jax.tree.leaves_with_path(tree)}}
    if wrong := wanted.items() ^ {{key: x.shape for key, x in tensors.items()}}.items():
        raise ValueError(f"{{weights}} does not fit the model: {{sorted(wrong)}}")
    return jax.tree.map_with_path(lambda keys, _: tensors[{name}], tree)
'''


__all__ = ["LOCALS", "source"]
