"""Where Keras keeps each weight, and in which shape."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

from ...compiler.diagnose import MlcError
from ...compiler.graph import Graph, Scope, Weight
from ...compiler.passes.dce import reached
from ...compiler.passes.layout import Folds
from ...compiler.program import Apply, Call, Chain, Class, Program, Statement, walk
from ...compiler.weight import Entry, Step
from . import recurrent
from .attention import own
from .clusters import Group
from .conv_transpose import stretches, turned
from .layers import depthwise
from .members import stages

Path: TypeAlias = "tuple[tuple[str, int | None], ...]"
Place: TypeAlias = "tuple[str, tuple[Step, ...]]"


class Places:
    """The variables of a program's weights.

    `holders` says under which name a layer of a class's own holds a parameter of it, and `folds`
    which linear layers take their features in the order in which they are stored; `respelled` are
    members of the model that have other names.
    """

    def __init__(
        self,
        program: Program,
        holders: Mapping[tuple[Class, str], str],
        folds: Folds,
        respelled: Mapping[str, str],
    ) -> None:
        self.program = program
        self.holders = holders
        self.folds = folds
        self.respelled = respelled
        self._members: dict[int, dict[str, list[Apply | Call | Chain]]] = {}
        self.classes = {scope: cls for cls in program.classes for scope in cls.scopes}

    def entry(self, weight: Weight, path: Path) -> Entry | None:
        """The variable's path (`blocks_0_conv1/kernel`), and how the canonical tensor is it; None
        for a weight that the entry of another one has."""
        *members, (part, _) = path
        pieces = list(self._pieces(weight, members))
        if weight.layer is None or part != weight.part:
            held = self.holders[self._class(weight.scope), part]
            held = held if pieces else self.respelled.get(held, held)
            turned = (Step("permute", weight.order),) if weight.order else ()
            return Entry("_".join([*pieces, held]) + f"/{part}", (weight.path,), turned)
        if weight.layer.op.name in recurrent.KINDS:
            return recurrent.entry(weight, self._applied(weight), "_".join(pieces))
        variable, steps = _KINDS[weight.layer.op.name](weight, self._applied(weight))
        if weight in self.folds:
            steps = (*self.folds[weight], *steps)
        return Entry("_".join(pieces) + f"/{variable}", (weight.path,), steps)

    def _class(self, scope: Scope) -> Class:
        return self.classes[scope.block]

    def _pieces(self, weight: Weight, members: Sequence[tuple[str, int | None]]) -> Iterator[str]:
        """The names of the members from the model down, those of a chain's stages by their ops."""
        own = {self.classes[s] for s in weight.scope.ancestors() if s in self.classes}
        body: Sequence[Statement] = self.program.model.body
        names = self.respelled
        for name, index in members:
            plain = names.get(name, name)
            yield plain if index is None else f"{plain}_{index}"
            names = {}
            for statement in self._named(body).get(name, ()):
                match statement:
                    case Call(cls=cls) if cls in own:
                        body = cls.body
                        break
                    case Chain(body=inner):
                        body, names = inner, stages(inner)
                        break

    def _named(self, body: Sequence[Statement]) -> Mapping[str, list[Apply | Call | Chain]]:
        """What a body holds and applies, by the names of the members."""
        if id(body) not in self._members:
            found = self._members.setdefault(id(body), {})
            for statement in walk(body):
                member = statement.member if isinstance(statement, (Apply, Call, Chain)) else None
                if member is not None and isinstance(statement, (Apply, Call, Chain)):
                    found.setdefault(member.name, []).append(statement)
        return self._members[id(body)]

    def _applied(self, weight: Weight) -> Apply:
        """The op that applies the weight's layer; of several, all are alike in what matters."""
        layer = weight.layer
        assert layer is not None
        body = self._class(layer.scope).body
        names = (layer.member, f"{layer.member}_{layer.index}")
        held = [s for name in names for s in self._named(body).get(name, ())]
        named = [s for s in held if isinstance(s, Apply) and s.op is layer.op]
        exact = [s for s in named if all(layer.attrs.get(k) == v for k, v in s.values.items())]
        found = exact or named
        kinds = {_matters(s) for s in found}
        if len(kinds) != 1:
            raise MlcError("unsupported", f"Keras needs a name for {layer.path} of its own",
                           help=f"name it: `{layer.op.name}(...) as ...`")  # fmt: skip
        return found[0]


def _matters(apply: Apply) -> object:
    """What the shape of a layer's weights depends on, besides the layer itself."""
    match apply.op.name:
        case "conv":
            return depthwise(apply)
        case "conv_transpose":
            return stretches(apply)
        case "prelu":
            return apply.inputs[0] and apply.inputs[0].type.rank
        case "attention":
            return own(apply)
        case "rnn" | "lstm" | "gru":
            return recurrent.own(apply)
    return None


def kept(graph: Graph, groups: Iterable[tuple[Class, Group]]) -> set[Weight]:
    """The weights that a Keras model has: those of layers that an output is computed by.

    Others Keras leaves out, also where they have statistics of their own; a state that a layer of
    the file holds is changed where an output passes. What one layer holds stands and falls
    together.
    """
    states = (value for w, (value, _) in graph.updates.items() if w.layer is None)
    nodes = reached([*graph.outputs.values(), *states])
    layers = {node.layer for node in nodes}
    found = {w for w in graph.weights.values() if w.layer in layers and w.layer is not None}
    found |= {w for node in nodes for w in node.values if isinstance(w, Weight)}
    found |= {w for w in (*graph.live(), *graph.updates) if isinstance(w, Weight) and not w.layer}
    places = {(node.scope.block, node.op, node.site) for node in nodes}
    for cls, group in groups:
        names = {parameter.name for parameter in group.parameters}
        for scope in cls.scopes:
            held = {w for w in graph.weights.values() if w.scope is scope and w.part in names}
            if held & found or any((scope, s.op, s.site) in places for s in group.statements):
                found |= held
    return found


NORMS: Mapping[str, str] = {
    "weight": "gamma", "bias": "beta", "running_mean": "moving_mean",
    "running_var": "moving_variance",
}  # fmt: skip


def _norm(weight: Weight, apply: Apply) -> Place:
    del apply
    return NORMS[weight.part], ()


def _rms_norm(weight: Weight, apply: Apply) -> Place:
    del weight, apply
    return "scale", ()


def _linear(weight: Weight, apply: Apply) -> Place:
    del apply
    return ("kernel", (Step("permute", (1, 0)),)) if weight.part == "weight" else (weight.part, ())


def _sizes(weight: Weight) -> tuple[int, ...]:
    return tuple(size for size in weight.type.shape if isinstance(size, int))


def _conv(weight: Weight, apply: Apply) -> Place:
    """(out, in, *kernel) as (*kernel, in, out); with a group a channel, as (*kernel, in, many)."""
    if weight.part != "weight":
        return weight.part, ()
    if apply.op.name == "conv_transpose" and stretches(apply):
        return "kernel", turned(weight)
    rank = weight.type.rank
    if apply.op.name == "conv" and depthwise(apply):
        assert weight.layer is not None
        groups: int = weight.layer.attrs["groups"]
        outputs, _, *kernel = _sizes(weight)
        split = Step("reshape", (_sizes(weight), (groups, outputs // groups, *kernel)))
        return "kernel", (split, Step("permute", (*range(2, rank), 0, 1)))
    return "kernel", (Step("permute", (*range(2, rank), 1, 0)),)


def _embedding(weight: Weight, apply: Apply) -> Place:
    del weight, apply
    return "embeddings", ()


def _prelu(weight: Weight, apply: Apply) -> Place:
    """A slope stands for all axes but the batch."""
    (size,) = _sizes(weight)
    x = apply.inputs[0]
    assert x is not None
    after = (*(1,) * max(x.type.rank - 2, 0), size)
    return "alpha", (Step("reshape", ((size,), after)),) if len(after) > 1 else ()


def _attention(weight: Weight, apply: Apply) -> Place:
    """Keras projects to (heads, D // heads) at once, and back from them."""
    assert weight.layer is not None
    role, kind = weight.part.split(".")
    if own(apply):
        return (f"{role}/kernel", (Step("permute", (1, 0)),)) if kind == "weight" else (
            f"{role}/bias", ())  # fmt: skip
    heads: int = weight.layer.attrs["heads"]
    name = "attention_output" if role == "output" else role
    sizes = _sizes(weight)
    split = (heads, (sizes[-1] if role == "output" else sizes[0]) // heads)
    if kind == "bias":
        steps = () if role == "output" else (Step("reshape", ((sizes[0],), split)),)
        return f"{name}/bias", steps
    before = (sizes[1], sizes[0])
    after = (*split, sizes[0]) if role == "output" else (sizes[1], *split)
    return f"{name}/kernel", (Step("permute", (1, 0)), Step("reshape", (before, after)))


_KINDS: Mapping[str, Callable[[Weight, Apply], Place]] = {
    "linear": _linear, "conv": _conv, "conv_transpose": _conv, "embedding": _embedding,
    "batch_norm": _norm, "layer_norm": _norm, "group_norm": _norm, "instance_norm": _norm,
    "rms_norm": _rms_norm, "prelu": _prelu, "attention": _attention,
}  # fmt: skip
