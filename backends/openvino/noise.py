"""Noise: OpenVINO's graphs are given it, as further inputs called by its keys."""

from __future__ import annotations

from collections.abc import Iterator

from ...compiler.clone import clone
from ...compiler.diagnose import MlcError
from ...compiler.graph import Graph, Input
from ...compiler.ops.draw import NOISE, own_key
from ...compiler.passes.noise import as_inputs, unique
from ...compiler.program import Apply, Call, Program, Repeat, walk
from ..source.draws import draws

ONCE = '''\
def noise(self, name: str, shape: list[int]) -> ov.Output:
    """Fresh noise, an input of the model."""
    self.noises[name] = ops.parameter(shape, ov.Type.f32, name=name)
    return self.noises[name]
'''

AGAIN = '''\
def noise(self, name: str, shape: list[int]) -> ov.Output:
    """Fresh noise, an input of the model; it has a number where the name is taken."""
    free = (f"{name}_{i}" if i else name for i in itertools.count())
    title = next(title for title in free if title not in self.noises)
    self.noises[title] = ops.parameter(shape, ov.Type.f32, name=title)
    return self.noises[title]
'''


def method(program: Program) -> str:
    """What makes an input: by its name, or with a number where loops or calls draw again."""
    every = [s for cls in program.classes for s in walk(cls.body)]
    inside = [s for loop in every if isinstance(loop, Repeat) for s in walk(loop.body)]
    again = [s for s in inside if isinstance(s, (Apply, Call)) and not _listed(s)]
    again += [s for s in every if isinstance(s, Call) and not s.first]
    drawing = any(draws(s.cls) if isinstance(s, Call) else s.op is NOISE for s in again)
    return AGAIN if drawing else ONCE


def _listed(statement: Apply | Call) -> bool:
    """Whether each turn of a loop calls another member."""
    return statement.member is not None and statement.member.listed


FIRST = "self.noises: dict[str, ov.Output] = {}"
"""Stands first in `build`, which starts anew each time."""

USE = "    Noise is an input too: feed it fresh numbers at each call.\n\n"
"""For the docstring of `build`."""


def inputs(graph: Graph, prepared: Graph) -> Iterator[Input]:
    """The noise that the code for `prepared`, made of `graph`, takes, in its order.

    MlcError `unsupported` where the method does not call it as `as_inputs` does.
    """
    given = as_inputs(clone(graph)[0])
    taken: set[str] = set()
    for node in prepared:
        if node.op is not NOISE:
            continue
        wanted = given[node.attrs["key"]]
        path = ".".join(filter(None, (node.scope.path, own_key(node))))
        if unique(path, taken) != wanted.name:
            text = f"two of the inputs, outputs and weights of {graph.name} are called {path}"
            raise MlcError("unsupported", text, node.span, help="rename the noise")
        yield wanted
