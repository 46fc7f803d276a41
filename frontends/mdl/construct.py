"""Nodes and layers: one application of an op, with its weights, in the place of its source."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...compiler.diagnose import MlcError, Span
from ...compiler.dim import bounds
from ...compiler.expr import Expr
from ...compiler.graph import Graph, Layer, Node, Type, Value, Weight
from ...compiler.op import REQUIRED, Op, Param, Signature, TypeMismatch, collecting
from ...compiler.ops.constant import CONSTANT
from .attribute import resolved
from .context import Absent, Frame, Held, Instance, Place, Tensor
from .facts import check_count
from .limits import BITS, MESSAGE, NODES, RANK, WARNINGS
from .region import Region
from .static import FAILURES, bounded, elements


def optional(name: str) -> bool:
    """Whether a name of an op's signature may be absent."""
    return name.endswith("?")


class Construct:
    """Appends to one graph."""

    def __init__(
        self, graph: Graph, ops: Mapping[str, Op], spend: Callable[[int, Span], None]
    ) -> None:
        self.graph = graph
        self.ops = ops
        self.warnings = graph.warnings
        self.spend = spend
        self.used: set[Layer] = set()
        self.regions: list[Region] = []
        self.bound: dict[Instance, bool] = {}
        self.size = 0

    # ----------------------------------------------------------------------------- layers

    def layer(self, frame: Frame, held: Held, place: Place, site: int) -> Layer:
        """The layer of a place: the one that an earlier call of the block made, or a new one."""
        key = frame.instance.key(place.path)
        known = frame.instance.parts.get(key)
        if isinstance(known, Layer):
            return known
        self._allow(held)
        layer = Layer(
            held.op, frame.scope, place.member, place.index, place.path, held.attrs, held.exprs,
            site,
        )  # fmt: skip
        frame.instance.parts[key] = layer
        self.graph.layers.append(layer)
        return layer

    def bind(self, instance: Instance, name: str, span: Span) -> None:
        """Notes whether a block is called in the body of a scan; raises if it is elsewhere too."""
        inside = bool(self.regions)
        if self.bound.setdefault(instance, inside) != inside:
            text = f"{name} is called in the body of a scan or a choice, and outside of it"
            raise MlcError("unsupported", text, span, help="make it twice")

    def _allow(self, held: Held) -> None:
        """Raises for what cannot stand in the body of a scan, a loop or a choice."""
        if self.regions:
            self.regions[-1].require(held.op, held.span)

    def weights(self, layer: Layer, types: Sequence[Type | None], attrs: Any, span: Span) -> None:
        """Makes the weights of a layer by its first use; checks that later ones agree."""
        params = self._params(layer.op, types, attrs, span)
        if layer in self.used:
            self._check_shared(layer, params, span)
            return
        self.used.add(layer)
        layer.attrs = attrs
        for part, param in params.items():
            within(param.type, span)
            path = f"{layer.path}.{part}"
            weight = Weight(
                path, param.type, param.init, trainable=param.trainable, scope=layer.scope,
                part=part, layer=layer, site=layer.site, span=span,
            )  # fmt: skip
            self.add_weight(weight)
            layer.weights[part] = weight

    def add_weight(self, weight: Weight) -> None:
        """Enters a weight in the graph under its path."""
        if weight.path in self.graph.weights:
            message = f"two weights have the path {weight.path}"
            raise MlcError("duplicate", message, weight.span, help="rename one of the two members")
        self.graph.weights[weight.path] = weight

    def _params(
        self, op: Op, types: Sequence[Type | None], attrs: Any, span: Span
    ) -> Mapping[str, Param]:
        if op.params is None:
            return {}
        params = op.params
        return self._guard(op, span, lambda: params(*types, **attrs))  # type: ignore[no-any-return]

    def _check_shared(self, layer: Layer, params: Mapping[str, Param], span: Span) -> None:
        for part, param in params.items():
            weight = layer.weights.get(part)
            if weight is None or weight.type.shape != param.type.shape:
                shown = weight.type if weight else "absent"
                raise MlcError(
                    "shape",
                    f"{layer.path}.{part} is {shown}, and would have to be {param.type} here",
                    span, help="layers that are used twice take inputs of one size",
                )  # fmt: skip

    def weight_of(self, layer: Layer, part: str, span: Span) -> Tensor:
        """The weight `part` of a layer, also before its first use where its config decides it."""
        if layer not in self.used:
            tensors = [None] * len(layer.op.inputs)
            try:
                self.weights(layer, tensors, complete(layer.op, layer.attrs, span), span)
            except MlcError as error:
                raise MlcError(
                    "order", f"{layer.path} has no weights before it is applied", span,
                    help="use it first: its sizes follow from its input",
                ) from error  # fmt: skip
        if part not in layer.weights:
            known = ", ".join(layer.weights) or "none"
            raise MlcError("name", f"{layer.op.name} has no weight {part}", span,
                           help=f"its weights: {known}")  # fmt: skip
        return tensor(self.graph.updates.get(layer.weights[part], (layer.weights[part],))[0])

    # ------------------------------------------------------------------------------ nodes

    def apply(
        self,
        frame: Frame,
        held: Held,
        inputs: Sequence[Tensor | None],
        *,
        site: int,
        span: Span,
    ) -> Tensor | tuple[Tensor, ...]:
        """One application; `inputs` are the tensors, None for absent ones."""
        op, layer = held.op, held.layer
        first = next((t for t in inputs if t is not None), None)
        kinds = {name: config.kind for name, config in op.config.items()}
        attrs = resolved(complete(op, held.attrs, span), kinds, first, span)
        types = [t.type if t else None for t in inputs]
        values: list[Value | None] = [t.value if t else None for t in inputs]
        if layer is not None:
            self.weights(layer, types, attrs, span)
            for name in op.weights:
                weight = layer.weights.get(name.removesuffix("?"))
                value = self.graph.updates.get(weight, (weight, ""))[0] if weight else None
                values.append(value)
                types.append(value.type if value else None)
        results = self._infer(op, types, attrs, span)
        self._compare_labels(frame, op, inputs, span)
        self._allow(held)
        node = self._append(
            Node(
                op, values, results, attrs, exprs=held.exprs, layer=layer,
                scope=frame.scope, site=site, rank=frame.rank(site), arms=frame.arms, span=span,
            ),
            span,
        )  # fmt: skip
        return self._results(node, layer)

    def control(
        self,
        frame: Frame,
        op: Op,
        inputs: Sequence[Value],
        attrs: Mapping[str, Any],
        blocks: Sequence[Graph],
        site: int,
        span: Span,
    ) -> Node:
        """A node with blocks."""
        types = [value.type for value in inputs]
        made = self._infer(op, types, attrs, span, tuple(map(Signature.of, blocks)))
        node = Node(
            op, inputs, made, attrs, scope=frame.scope, site=site, rank=frame.rank(site),
            arms=frame.arms, span=span, blocks=tuple(blocks),
        )  # fmt: skip
        return self._append(node, span)

    def _results(self, node: Node, layer: Layer | None) -> Tensor | tuple[Tensor, ...]:
        """What the source sees: not the new values of buffers, which become updates."""
        outputs = [Tensor(value, value.type.labels) for value in node.outputs]
        if layer is not None and node.op.effect == "state":
            buffers = [w for w in layer.weights.values() if not w.trainable]
            for buffer, value in zip(buffers, node.outputs[-len(buffers) :], strict=True):
                self.graph.updates[buffer] = (value, "training")
            outputs = outputs[: -len(buffers)]
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def _append(self, node: Node, span: Span) -> Node:
        self.size += 1
        if self.size > NODES:
            raise MlcError("limit", f"the model has more than {NODES} operations", span)
        held = [v for v in node.attrs.values() if isinstance(v, (list, tuple))]
        sizes = [getattr(v, "size", 0) for v in node.attrs.values()]
        count = sum(map(elements, held)) + sum(n for n in sizes if isinstance(n, int))
        self.spend(10 + count + 5 * (len(node.inputs) + len(node.outputs)), span)
        return self.regions[-1].append(node) if self.regions else self.graph.append(node)

    def _infer(
        self,
        op: Op,
        types: Sequence[Type | None],
        attrs: Mapping[str, Any],
        span: Span,
        blocks: Sequence[Signature] = (),
    ) -> tuple[Type, ...]:
        regions = {"blocks": blocks} if blocks else {}
        with collecting(self.graph.facts):
            result = self._guard(op, span, lambda: op.infer(*types, **attrs, **regions))
        results = result if isinstance(result, tuple) else (result,)
        for made in results:
            within(made, span)
        for size in (size for made in results for size in made.shape):
            if bounds(size)[1] < 1:
                message = f"{op.name} gives {results[0]}, and a size must be at least 1"
                raise MlcError("shape", message, span)
        check_count(self.graph.facts, span)
        return results

    def _guard(self, op: Op, span: Span, compute: Any) -> Any:
        """Runs a function of a record; whatever it raises is an error of its arguments."""
        try:
            return compute()
        except TypeMismatch as clash:
            raise MlcError(clash.code, str(clash)[:MESSAGE], span, help=clash.help) from clash
        except FAILURES as failure:
            message = f"{op.name} cannot take these arguments: {failure}"
            raise MlcError("argument", message[:MESSAGE], span) from failure

    def _compare_labels(
        self, frame: Frame, op: Op, inputs: Sequence[Tensor | None], span: Span
    ) -> None:
        """Warns where an elementwise op meets axes of two labels, each of the label's own size."""
        shown = [t for t in inputs if t is not None]
        if op.layout != "any" or len(shown) < 2 or len(self.warnings) >= WARNINGS:
            return
        if any(w.span == span for w in self.warnings):
            return
        for axis in range(-max(t.type.rank for t in shown), 0):
            present = [t for t in shown if t.type.rank >= -axis and _is_whole(frame, t, axis)]
            labels = sorted({str(t.labels[axis]) for t in present})
            if len(labels) > 1:
                message = f"{op.name} aligns axes labelled {' and '.join(labels)}"
                self.warnings.append(MlcError("label", message, span))

    # --------------------------------------------------------------------------- constants

    def constant(
        self, frame: Frame, value: Any, dtype: str, *, site: int, span: Span, expr: Expr | None
    ) -> Tensor:
        """A number as a tensor of rank 0."""
        exprs = {} if expr is None else {"value": expr}
        held = Held(CONSTANT, {"value": value, "dtype": dtype}, exprs, None, span)
        made = self.apply(frame, held, (), site=site, span=span)
        assert isinstance(made, Tensor)
        return made

    def fill(self, frame: Frame, absent: Absent) -> Tensor:
        """The default of an `in?` as a tensor of its type, once a call."""
        if absent.name not in frame.filled:
            scope, arms, regions = frame.scope, frame.arms, self.regions
            frame.scope, frame.arms, self.regions = scope.block, (), regions[: frame.depth]
            try:
                number = self.constant(
                    frame, absent.default, absent.type.dtype, site=absent.site, span=absent.span,
                    expr=None,
                )  # fmt: skip
                held = Held(self.ops["expand"], {"shape": absent.type.shape}, {}, None, absent.span)
                made = self.apply(frame, held, [number], site=absent.site, span=absent.span)
            finally:
                frame.scope, frame.arms, self.regions = scope, arms, regions
            assert isinstance(made, Tensor)
            frame.filled[absent.name] = Tensor(made.value, absent.type.labels)
        return frame.filled[absent.name]


def within(type: Type, span: Span) -> None:
    """MlcError `limit` for a tensor of too many axes or elements, or a size that is too long."""
    if type.rank > RANK:
        raise MlcError("limit", f"a tensor of more than {RANK} axes", span)
    for size in type.shape:
        bounded(size, span)
    known = [size for size in type.shape if isinstance(size, int)]
    if math.prod(known).bit_length() > BITS:
        raise MlcError("limit", f"a tensor of more than 2 ** {BITS} elements", span)


def tensor(value: Value) -> Tensor:
    """A value under the labels of its own type."""
    return Tensor(value, value.type.labels)


def complete(op: Op, attrs: Mapping[str, Any], span: Span) -> dict[str, Any]:
    """The attributes with the defaults of the record."""
    full = {name: attrs.get(name, config.default) for name, config in op.config.items()}
    missing = [name for name, value in full.items() if value is REQUIRED]
    if missing:
        takes = ", ".join(op.config)
        message = f"{op.name} needs {' and '.join(missing)}"
        raise MlcError("argument", message, span, help=f"it takes {takes}")
    return full


def _is_whole(frame: Frame, tensor: Tensor, axis: int) -> bool:
    """Whether an axis is all of what its label stands for, not a part or a multiple of it."""
    variable = frame.variables.get(tensor.labels[axis] or "")
    return variable is not None and bool(variable.value == tensor.type.shape[axis])
