"""The class of files whose layers are scanned: equal modules as one."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from .stacks import Stack

CLASS = "Stack"
ZIPPED = "Zipped"
HELD = "stacked"
"""The attribute that holds the module whose arrays are stacked."""


def name(stack: Stack) -> str:
    """Which class a stack is of."""
    return ZIPPED if stack.more else CLASS


def classes(stacks: Collection[Stack], *, wide: bool) -> Iterator[str]:
    """The text of the classes that these need; `wide` says that what is carried is made float32."""
    kinds = {stack.more for stack in stacks}
    cast = ".astype(jnp.float32)" if wide else ""
    empty = any(stack.empty for stack in stacks)
    made = "nnx.split_rngs(splits=count)(nnx.vmap(make, axis_size=count))(rngs)"
    yield BASE.replace("MADE", f"{made} if count else None" if empty else made) + (
        PLAIN.replace("EMPTY", "if self.stacked is None:\n            return x\n\n        " * empty)
        .replace("WIDE", cast) if False in kinds else ""
    )  # fmt: skip
    if True in kinds:
        yield EACH.replace("WIDE", cast)


BASE = '''class Stack(nnx.Module):
    """Equal modules, applied one after the other, as one that is compiled once: its arrays have an
    axis for them in front."""

    def __init__(
        self, make: Callable[[nnx.Rngs], nnx.Module], count: int, *, rngs: nnx.Rngs
    ) -> None:
        self.stacked = MADE
'''

PLAIN = """
    def __call__(self, x: jax.Array, *rest: jax.Array) -> jax.Array:
        EMPTY@nnx.scan(in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)
        def step(x: jax.Array, module: nnx.Module) -> jax.Array:
            return module(x, *rest)WIDE

        return step(xWIDE, self.stacked)
"""

EACH = '''class Zipped(Stack):
    """A stack whose modules each take their slice of some arrays; what they give besides x is
    stacked."""

    def __call__(self, x: jax.Array, each: tuple[jax.Array, ...], *rest: jax.Array) -> tuple:
        @nnx.scan(in_axes=(nnx.Carry, 0, 0), out_axes=(nnx.Carry, 0))
        def step(x: jax.Array, module: nnx.Module, each: tuple) -> tuple:
            y = module(x, *each, *rest)
            x, *more = y if isinstance(y, tuple) else (y,)
            return xWIDE, more

        x, more = step(xWIDE, self.stacked, each)
        return x, *more
'''


__all__ = ["CLASS", "HELD", "ZIPPED", "classes", "name"]
