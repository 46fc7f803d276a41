"""Which argument of a call fills which input or configuration."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...compiler.diagnose import MlcError, Span
from .context import Absent, Tensor, holds_tensors, is_tensor, kind_of
from .errors import listed, suggest
from .syntax import Argument


@dataclass(frozen=True, slots=True)
class Missing:
    """A name that stands for nothing (it may be an axis), and the error that it would be."""

    error: MlcError


@dataclass(frozen=True, slots=True)
class Signature:
    """What a callee takes: tensors (those in `optional` may be left out), then configuration.

    `gathers` are configurations that take all remaining positional arguments; `weights` are the
    tensors of a layer, which may be given by keyword instead of being made.
    """

    name: str
    inputs: tuple[str, ...]
    optional: frozenset[str]
    config: tuple[str, ...]
    gathers: frozenset[str] = frozenset()
    variadic: bool = False
    weights: tuple[str, ...] = ()


@dataclass(slots=True)
class Bound:
    """The tensors by input name (a list under the one name of a variadic op), the arguments of
    each configuration as syntax, and the weights that are given."""

    inputs: dict[str, Any] = field(default_factory=dict)
    config: dict[str, list[Argument]] = field(default_factory=dict)
    weights: dict[str, Any] = field(default_factory=dict)


def bind(
    signature: Signature,
    piped: Sequence[Any] | None,
    arguments: Sequence[Argument],
    evaluate: Callable[[Argument], Any],
    span: Span,
) -> Bound:
    """Sorts the arguments. Without `piped`, leading tensors by position fill the inputs.

    `inputs` is empty where no tensor is given at all: the callee is then held, not applied.
    `evaluate` returns a Missing for a bare name that is unknown.
    """
    bound = Bound()
    positional = [a for a in arguments if a.name is None]
    _keywords(signature, [a for a in arguments if a.name is not None], bound, evaluate)
    if piped is not None:
        values = [(value, span) for value in piped]
    else:
        values, taken = _leading(signature, positional, bound, evaluate)
        positional = positional[taken:]
    _fill(signature, values, bound, span)
    _positions(signature, positional, bound, evaluate)
    if bound.inputs or bound.weights:
        _complete(signature, bound, span)
    return bound


def _keywords(
    signature: Signature,
    arguments: list[Argument],
    bound: Bound,
    evaluate: Callable[[Argument], Any],
) -> None:
    for argument in arguments:
        name = argument.name
        assert name is not None
        if name in bound.inputs or name in bound.config or name in bound.weights:
            raise MlcError("argument", f"{name} is given twice", argument.span)
        if name in signature.inputs:
            value = evaluate(argument)
            bound.inputs[name] = (value, argument.span)
        elif name in signature.weights and _is_weight(signature, name, evaluate(argument)):
            bound.weights[name] = (evaluate(argument), argument.span)
        elif name in signature.config:
            bound.config[name] = [argument]
        else:
            known = [*signature.inputs, *signature.config]
            help = suggest(name, known) or _takes(signature)
            message = f"{signature.name} has no argument {name}"
            raise MlcError("argument", message, argument.span, help=help)


def _is_weight(signature: Signature, name: str, value: Any) -> bool:
    """Whether a keyword means a weight, where a configuration (`bias`) may have its name."""
    return is_tensor(value) or name not in signature.config


def _takes(signature: Signature) -> str:
    tensors = [f"{n}?" if n in signature.optional else n for n in signature.inputs]
    if signature.variadic:
        tensors = ["tensors"]
    configs = list(signature.config) or ["nothing else"]
    return f"{signature.name} takes {listed(tensors) or 'no tensors'}, and {listed(configs)}"


def _leading(
    signature: Signature,
    positional: Sequence[Argument],
    bound: Bound,
    evaluate: Callable[[Argument], Any],
) -> tuple[list[Any], int]:
    """The leading arguments that are tensors, or numbers among required ones, and their count."""
    if signature.variadic:
        return _leading_all(positional, evaluate)
    open_ = [name for name in signature.inputs if name not in bound.inputs]
    required = [name for name in open_ if name not in signature.optional]
    values: list[Any] = []
    for i, argument in enumerate(positional[: len(open_)]):
        value = evaluate(argument)
        number = i < len(required) and isinstance(value, (int, float))
        if not (holds_tensors(value) or number):
            break
        values.append((value, argument.span))
    given = [*values, *bound.inputs.values()]
    applied = any(holds_tensors(value) for value, _ in given)
    return (values, len(values)) if applied else ([], 0)


def _leading_all(
    positional: Sequence[Argument], evaluate: Callable[[Argument], Any]
) -> tuple[list[Any], int]:
    values: list[Any] = []
    count = 0
    for argument in positional:
        value = evaluate(argument)
        if not holds_tensors(value):
            break
        count += 1
        items = value if isinstance(value, (list, tuple)) else [value]
        values += [(item, argument.span) for item in items]
    return values, count


def _fill(signature: Signature, values: Sequence[Any], bound: Bound, span: Span) -> None:
    if signature.variadic:
        if values:
            bound.inputs[signature.inputs[0]] = list(values)
        return
    open_ = [name for name in signature.inputs if name not in bound.inputs]
    if len(values) > len(open_):
        takes = f"takes {len(open_)}" if len(open_) != len(signature.inputs) else "takes only"
        message = f"{signature.name} {takes} {listed(open_) or 'no tensors'}"
        raise MlcError("argument", f"{message}, and gets {len(values)} tensors", span)
    bound.inputs.update(zip(open_, values, strict=False))


def _positions(
    signature: Signature,
    arguments: Sequence[Argument],
    bound: Bound,
    evaluate: Callable[[Argument], Any],
) -> None:
    for i, argument in enumerate(arguments):
        if i == len(signature.config):
            value = evaluate(argument)
            if isinstance(value, Missing):
                raise value.error
            message = f"{signature.name} takes {i} arguments by position, not {len(arguments)}"
            raise MlcError("argument", message, argument.span, help=_too_many(signature, bound))
        name = signature.config[i]
        if name in bound.config:
            raise MlcError("argument", f"{name} is given twice", bound.config[name][0].span)
        bound.config[name] = [argument]
        if name in signature.gathers:
            bound.config[name] = list(arguments[i:])
            return


def _too_many(signature: Signature, bound: Bound) -> str:
    open_ = [name for name in signature.inputs if name not in bound.inputs]
    if open_ and not signature.variadic:
        return f"after `->`, further tensors go by keyword: {open_[0]} = ..."
    return _takes(signature)


def _complete(signature: Signature, bound: Bound, span: Span) -> None:
    missing = [
        name for name in signature.inputs
        if name not in bound.inputs and name not in signature.optional
    ]  # fmt: skip
    if missing and not signature.variadic:
        message = f"{signature.name} needs {listed(missing)} too"
        raise MlcError("argument", message, span, help=_takes(signature))


def only_tensor(value: Any, name: str, callee: str, span: Span) -> Tensor | Absent | float | None:
    """A value as an input: a tensor, a number, or none."""
    if isinstance(value, Missing):
        raise value.error
    if is_tensor(value) or value is None or isinstance(value, (int, float)):
        tensor: Tensor | Absent | float | None = value
        return tensor
    message = f"{name} of {callee} takes a tensor, and gets {kind_of(value)}"
    help = "a tuple spreads over the inputs: `(a, b) -> op`" if isinstance(value, list) else None
    raise MlcError("argument", message, span, help=help)
