"""How weights start where a file gives none: the language's way, which is PyTorch's.

A random initializer of Keras draws the same numbers each time it is called. So what several layers
share is not one of them but its configuration, from which each layer makes its own.
"""

from __future__ import annotations

from math import prod

from ...compiler import expr
from ...compiler.expr import Expr, literal
from ...compiler.graph import Init
from ...compiler.ops.shape import product
from ..source.parts import Parts
from ..source.tree import number, tree
from .shapes import Pieces

STARTED = "kernel_initializer={kernel_start}, bias_initializer={bias_start}"
DEPTHWISE = "depthwise_initializer={kernel_start}, bias_initializer={bias_start}"
"""What constructors say of it, with what `started` gives."""


def started(p: Parts, *, kernel: bool = True) -> dict[str, Expr | None]:
    """The parts `kernel_start` and `bias_start` of a layer, of which the latter may be absent.

    As in PyTorch, all axes but the first of a weight are its fan. `kernel` says that Keras counts
    the fan of its kernel alike.
    """
    fan = _fan_in(p)
    return {
        "kernel_start": tree("fan_uniform") if kernel else tree("uniform({fan})", fan=fan),
        "bias_start": tree("uniform({fan})", fan=fan) if "bias" in p.apply.weights else None,
    }


def _fan_in(p: Parts) -> Expr:
    """The fan in names that the function has."""
    into, *kernel = p.apply.weights["weight"].shape[1:]
    if into != p.x.type.shape[_channels(p)] or not _read(p):
        return p.place(literal(product((into, *kernel))))
    return _times([p.place(literal(product(kernel))), width(p)] if kernel else [width(p)])


def width(p: Parts) -> Expr:
    """How many channels or features the input has."""
    if not _read(p):
        return p.place(literal(p.x.type.shape[_channels(p)]))
    place = list(p.x.order or range(p.x.type.rank)).index(_channels(p))
    last = place == p.x.type.rank - 1
    return tree("{x}.shape[{i}]", x=p["x"], i=literal(-1 if last else place))


def _read(p: Parts) -> bool:
    """Whether that is read off the tensor.

    A number where the function makes the tensor, since settings may change it; what changes from
    iteration to iteration; and what it takes more than one size to say.
    """
    if not isinstance(p, Pieces):
        return False
    size = p.x.type.shape[_channels(p)]
    if isinstance(size, int):
        return p.x not in p.given
    found = expr.names(literal(size))
    return len(found) > 1 or bool(p.running & found)


def _channels(p: Parts) -> int:
    return 1 if p.op.name.startswith("conv") else p.x.type.rank - 1


def initializer(init: Init, shape: list[Expr]) -> Expr:
    """How Keras starts a weight of its own; `shape` is as the source declares it."""
    first = init.args[0] if init.args else None
    match init.kind, first:
        case "zeros" | "ones" as kind, _:
            return literal(kind)
        case "constant", _:
            return tree("keras.initializers.Constant({a})", a=literal(first))
        case "normal", float():
            return tree("keras.initializers.RandomNormal(stddev={a})", a=literal(_whole(first)))
        case "uniform", _:
            low, high = map(literal, init.args)
            return tree("keras.initializers.RandomUniform({a}, {b})", a=low, b=high)
        case "fan_uniform", float():
            return tree("uniform({fan})", fan=literal(_whole(first)))
    return tree("uniform({fan})", fan=_fan(init, shape))


def _fan(init: Init, shape: list[Expr]) -> Expr:
    """What to tell `uniform` so that a weight starts within the bound of its kind."""
    inner = shape[2:] if len(shape) > 1 else shape
    into = _times([*shape[1:2], *inner] if len(shape) > 1 else inner)
    match init.kind:
        case "fan_uniform":
            return into
        case "kaiming_uniform":
            gain = init.args[0] if init.args else 1.0
            return tree("{fan} / {a}", fan=into, a=literal(_whole(round(3 * gain * gain, 12))))
    out = _times([*shape[:1], *inner] if len(shape) > 1 else inner)
    return tree("({a} + {b}) / 6", a=into, b=out)


def _times(sizes: list[Expr]) -> Expr:
    """The product of sizes, their numbers multiplied out."""
    known = [number(size) for size in sizes]
    total = prod(n for n in known if n is not None)
    named = [size for size, n in zip(sizes, known, strict=True) if n is None]
    if total != 1 or not named:
        named.insert(0, literal(total))
    result = named[0]
    for size in named[1:]:
        result = tree("{a} * {b}", a=result, b=size)
    return result


def _whole(value: float) -> float:
    """A float that is an integer as one."""
    return int(value) if value.is_integer() else value


START = """\
# A configuration, of which each layer makes an initializer of its own: one that layers share would
# draw the same numbers for all of them.
fan_uniform = keras.initializers.serialize(
    keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform")
)"""
"""The file's way to start kernels."""

UNIFORM = '''def uniform(fan: float) -> keras.initializers.Initializer:
    """Draws from -b to b, where b = 1 / sqrt(fan)."""
    return keras.initializers.RandomUniform(-(fan**-0.5), fan**-0.5)
'''
