"""The class `Attention`, for what a model does with it and no more."""

from __future__ import annotations

from ...compiler.program import Apply, Program, walk


def attention(program: Program) -> list[str]:
    """The class as text, or nothing where the model has no projected attention."""
    statements = (s for cls in program.classes for s in walk(cls.body))
    found = [s for s in statements if isinstance(s, Apply) and s.op.name == "attention"]
    return [_source(found)] if found else []


def _source(found: list[Apply]) -> str:
    def given(name: str) -> bool:
        names = [n.rstrip("?") for n in found[0].op.inputs]
        return any(apply.inputs[names.index(name)] is not None for apply in found)

    causal = {bool(apply.values.get("causal")) for apply in found} == {True}
    what = "Causal multi-head" if causal else "Multi-head"
    context, keep, mask = given("context"), given("keep"), given("mask")
    extra = (", context: Tensor | None = None" if context else "") + (
        ", keep: Tensor | None = None" if keep else "") + (
        ", mask: Tensor | None = None" if mask else "")  # fmt: skip
    source = "x if context is None else context" if context else "x"
    return (
        f'''class Attention(nn.Module):
    """{what} attention over (B, T, D)."""

    def __init__(self, D: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(D, D)
        self.key = nn.Linear(D, D)
        self.value = nn.Linear(D, D)
        self.output = nn.Linear(D, D)

    def forward(self, x: Tensor{extra}) -> Tensor:
        q, k, v = (
            project(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for project in (self.query, self.key, self.value)
        )
        y = F.scaled_dot_product_attention(q, k, v, is_causal={causal})
        return self.output(y.transpose(1, 2).flatten(-2))
'''
        if not (context or keep or mask)
        else _masked(what, extra, source, causal, keep, mask)
    )


def _masked(what: str, extra: str, source: str, causal: bool, keep: bool, mask: bool) -> str:
    terms = ["mask"] if mask else []
    terms += ["keep[:, None, None, :]"] if keep else []
    return f'''class Attention(nn.Module):
    """{what} attention over (B, T, D); masks are true where a position may be attended."""

    def __init__(self, D: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(D, D)
        self.key = nn.Linear(D, D)
        self.value = nn.Linear(D, D)
        self.output = nn.Linear(D, D)

    def forward(self, x: Tensor{extra}) -> Tensor:
        q, k, v = (
            project(source).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for project, source in ((self.query, x), (self.key, {source}), (self.value, {source}))
        )
        allowed = {" & ".join(terms)}
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed)
        return self.output(y.transpose(1, 2).flatten(-2))
'''
