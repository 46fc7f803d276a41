"""Functions of a file for TPUs: a call in one program, and that program for the TPU."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from ...compiler.program import Class
from ..source.names import free


def functions(cls: Class, arguments: Mapping[str, str], optional: Collection[str]) -> Iterator[str]:
    """`apply`, and `export`; `arguments` are what the model's inputs are called, in order."""
    given = [
        f"{arguments[name]}: jax.Array" + (" | None = None" if name in optional else "")
        for name in cls.inputs
    ]
    names = ", ".join(arguments[name] for name in cls.inputs)
    own = free("model", {*arguments.values()})
    several = len(cls.outputs) != 1
    result = f"tuple[{', '.join(['jax.Array'] * len(cls.outputs))}]" if several else "jax.Array"
    yield f'''@partial(nnx.jit, donate_argnums=0)
def apply({own}: {cls.name}, {", ".join(given)}) -> {result}:
    """Call the model as one program; its arrays are donated, and updated in place."""
    return {own}({names})
'''
    yield f'''def export(model: {cls.name}, *inputs: jax.ShapeDtypeStruct) -> jax.export.Exported:
    """Return the program of a call for TPUs, which any machine can make, and `serialize`.

    It takes `jax.tree.leaves(nnx.state(model))` and the inputs, and returns the results and the
    leaves of the state after the call, in the memory of those before.
    """
    graph, state = nnx.split(model)
    leaves, structure = jax.tree.flatten(state)

    def call(leaves: list[jax.Array], *inputs: jax.Array) -> tuple:
        model = nnx.merge(graph, structure.unflatten(leaves), copy=True)
        return model(*inputs), jax.tree.leaves(nnx.state(model))

    return jax.export.export(jax.jit(call, donate_argnums=0), platforms=["tpu"])(leaves, *inputs)
'''
