"""Functions of a file for TPUs: a call in one program, and that program for the TPU."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from ....compiler.program import Class
from .needs import Needs


def compiled(
    cls: Class, needs: Needs, arguments: Mapping[str, str], optional: Collection[str]
) -> Iterator[str]:
    """`call`, which is `apply` in one program, and `export`; `arguments` are what the model's
    inputs are called, in order."""
    del cls, optional
    told = [*needs.hypers.values(), *(["train"] if needs.train else [])]
    options = f", static_argnames={told!r}" if told else ""
    options += ', donate_argnames="state"' if needs.state else ""
    trees = ["params: Params"] + ["state: State"] * needs.state
    given = ", ".join([*(each.partition(":")[0] for each in trees), "*inputs"])
    more = ", **options: Any" if told or needs.key or needs.noise else ""
    passed = ", **options" if more else ""
    donated = "\n# The arrays of `state` are donated, and updated in place." * needs.state
    yield f"# `apply` as one program.{donated}\ncall = jax.jit(apply{options})\n"
    yield f'''def export(
    {", ".join(trees)}, *inputs: jax.ShapeDtypeStruct{more}
) -> jax.export.Exported:
    """Return the program of a call for TPUs, which any machine can make, and `serialize`."""
    return jax.export.export(call, platforms=["tpu"])({given}{passed})
'''


__all__ = ["compiled"]
