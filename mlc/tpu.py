"""`mlc check --tpu`: what a TPU's matrix unit will make of a model, as a table or JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .compiler.diagnose import MlcError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from .compiler.cost import Cost, Product
    from .compiler.graph import Graph

NUMBERS = ("count", "repeats", "rows", "depth", "columns")
DERIVED = ("flops", "bytes", "padded", "intensity")


def report(graph: Graph, sizes: Sequence[str], console: Console, *, as_json: bool) -> None:
    """Prints what one forward run costs; `sizes` are texts such as B=8."""
    from .compiler.cost import cost
    from .equivalence.sizes import complete

    found = cost(graph, complete(graph, dict(map(size, sizes))))
    if as_json:
        import json

        print(json.dumps(_json(graph.name, found), indent=1))
        return
    console.print(_table(found))
    for line in _summary(found):
        console.print(line, markup=False, highlight=False)


def size(text: str) -> tuple[str, int]:
    """Name and number of `name=number`; MlcError `usage` where it is not of that form."""
    name, _, value = text.partition("=")
    name, value = name.strip(), value.strip()
    if not name.isidentifier() or not value.isdecimal() or not 1 <= int(value) < 2**31:
        raise MlcError("usage", f"--size takes NAME=N, N at least 1, and {text!r} is not like that")
    return name, int(value)


def _json(model: str, cost: Cost) -> dict[str, Any]:
    totals = {name: getattr(cost, name) for name in ("flops", "on_unit", "share", *DERIVED[1:])}
    return {
        "model": model,
        "sizes": dict(cost.sizes),
        **totals,
        "products": [
            {
                "op": each.op, "place": _place(each),
                **{name: getattr(each, name) for name in (*NUMBERS, *DERIVED)},
            }
            for each in cost.products
        ],
    }  # fmt: skip


def _place(product: Product) -> str:
    span = product.span
    return f"{span.source.name}:{span.line}:{span.column}" if span else ""


def _table(cost: Cost) -> Any:
    """A line for each product at each place of the source."""
    from rich.table import Table

    table = Table(title="products of matrices, forward", title_justify="left")
    table.add_column("line", justify="right")
    table.add_column("op", no_wrap=True)
    for heading in ("times", "rows x depth x columns", "FLOPs", "bytes", "FLOPs/byte", "padding"):
        table.add_column(heading, justify="right", no_wrap=True)
    for each in cost.products:
        times = f"{each.count}" if each.repeats == 1 else f"{each.count} x {each.repeats}"
        table.add_row(
            str(each.span.line) if each.span else "", each.op, times,
            f"{each.rows} x {each.depth} x {each.columns}", short(each.flops), short(each.bytes),
            f"{each.intensity:.1f}", f"{each.padded:.0%}",
            style="yellow" if each.padded > 0.5 else None,
        )  # fmt: skip
    return table


def _summary(cost: Cost) -> list[str]:
    from .compiler.cost import SUBLANES, TILE

    chosen = ", ".join(f"{name} = {size}" for name, size in cost.sizes.items())
    return [
        f"sizes: {chosen or 'all are fixed'}",
        f"{short(cost.flops)}FLOPs, {cost.share:.1%} of them on the matrix unit;"
        f" {short(cost.bytes)}bytes in bfloat16; {cost.intensity:.1f} FLOPs a byte",
        f"{cost.padded:.0%} of what the matrix unit does is padding: it takes tiles of"
        f" {TILE} x {TILE}, and rows by {SUBLANES}",
    ]


def short(number: float) -> str:
    """`1.23 G`: three digits and a prefix."""
    for prefix in ("", "k", "M", "G", "T", "P"):
        if number < 999.5 or prefix == "P":
            break
        number /= 1000
    return f"{number:.3g} {prefix}"
