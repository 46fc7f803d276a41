"""`noise` lines: what a model draws, each under a key of its own."""

from __future__ import annotations

import ast
from collections import Counter
from typing import TYPE_CHECKING

from ...compiler.diagnose import MlcError
from ...compiler.expr import Expr, literal
from ...compiler.graph import Type
from ...compiler.ops.draw import DISTRIBUTIONS, NOISE
from . import syntax as s
from .context import Frame, Held, Tensor, join
from .declare import extent
from .errors import suggest

if TYPE_CHECKING:
    from .elaborate import Elaborator


class Noise:
    """Adds the nodes of one graph; `drawn` counts the draws of each path."""

    def __init__(self, elaborator: Elaborator) -> None:
        self.e = elaborator
        self.drawn: Counter[str] = Counter()
        self.keys: set[str] = set()

    def draw(self, frame: Frame, node: s.Noise) -> None:
        """A `noise` line: a node of its own at every call of the block."""
        if self.e.construct.regions:
            message = (
                f"{node.name} is drawn in the body of a `{self.e.construct.regions[-1].keyword}`"
            )
            raise MlcError("unsupported", message, node.span, help="draw it before, for all of it")
        declared = self.e.statements.declare(frame).type(node.type)
        if declared.dtype != "f32":
            raise MlcError("dtype", f"{node.name} is {declared.dtype}, and noise is f32", node.span,
                           help="cast what is drawn")  # fmt: skip
        attrs = {
            "shape": declared.shape,
            "distribution": self._distribution(node),
            "key": self._key(frame, node),
        }
        shape = self._shape(frame, node.type, declared)
        exprs = {"key": literal(node.path or node.name)}
        exprs |= {} if shape is None else {"shape": shape}
        held = Held(NOISE, attrs, exprs, None, node.span)
        made = self.e.construct.apply(frame, held, (), site=node.site, span=node.span)
        assert isinstance(made, Tensor)
        frame.assign(node.name, Tensor(made.value, declared.labels))

    def _distribution(self, node: s.Noise) -> str:
        match node.distribution:
            case None:
                raise MlcError("argument", f"{node.name} needs a distribution", node.span,
                               help="write `= normal` or `= uniform`")  # fmt: skip
            case s.Name(name) if name in DISTRIBUTIONS:
                return name
            case s.Name(name):
                help = suggest(name, DISTRIBUTIONS)
            case s.Call(s.Name(name)) if name in DISTRIBUTIONS:
                message = f"{name} takes no numbers here: noise has the mean and scale of its kind"
                raise MlcError("argument", message, node.distribution.span,
                               help="scale what is drawn: `2.0 * e`")  # fmt: skip
            case _:
                help = None
        message = f"noise is {' or '.join(DISTRIBUTIONS)}"
        raise MlcError("name", message, node.distribution.span, help=help)

    def _key(self, frame: Frame, node: s.Noise) -> str:
        """The path; with a number behind it from the second draw on, of a loop or another call."""
        path = join(frame.scope.path, node.path or node.name)
        number = self.drawn[path]
        while (key := f"{path}_{number}" if number else path) in self.keys:
            number += 1
        self.drawn[path] = number + 1
        self.keys.add(key)
        return key

    def _shape(self, frame: Frame, declared: s.TypeSyntax, made: Type) -> Expr | None:
        """An expression of the shape over the names of the block; None where there is none."""
        if declared.like is None:
            arguments = [s.Argument(None, extent(a), span=a.span) for a in declared.axes]
            if not arguments:
                return None
            config = NOISE.config["shape"]
            return self.e.attributes(frame).make("noise", "shape", config, arguments)[1]
        value = frame.variables[declared.like].value
        sizes = self.e.sizes.of(frame, value) if isinstance(value, Tensor) else ()
        known = [size for size in sizes if size is not None]
        if not known or len(known) < made.rank:
            return None
        return ast.Tuple(known, ast.Load())
