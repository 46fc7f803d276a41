"""Attention: the function, and a class `Attention` for what a model does with it and no more."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...compiler.dim import Dim
from ...compiler.expr import Expr, literal
from ...compiler.program import Apply, Program, Var, walk
from ..source.module import LINE, docstring
from ..source.parts import Parts
from ..source.tree import is_literal, text, tree

# ------------------------------------------------------------------------------------ the function


def sdpa(p: Parts) -> Expr:
    """`F.scaled_dot_product_attention`; PyTorch aligns its own causal mask at the start."""
    causal, mask, bias = p["causal"], p["mask"], p["bias"]
    if is_literal(causal, False):
        causal = None
    elif mask is not None or bias is not None or _lengths(p)[0] != _lengths(p)[1]:
        seen = _seen(p)
        both = _biased(seen if mask is None else tree("{a} & {b}", a=mask, b=seen), bias)
        if not is_literal(causal, True):
            others = _biased(mask, bias) or literal(None)
            both = tree("{a} if {c} else {b}", a=both, c=causal, b=others)
        mask, bias, causal = both, None, None
    return p.fill(
        "F.scaled_dot_product_attention({q}, {k}, {v}, attn_mask={mask}, is_causal={causal}, "
        "scale={scale}, enable_gqa={grouped})",
        mask=_biased(mask, bias), causal=causal, grouped=p.unless("grouped", False),
    )  # fmt: skip


def _biased(mask: Expr | None, bias: Expr | None) -> Expr | None:
    """A mask and a bias as the one tensor that PyTorch takes: -inf where nothing may be seen."""
    if mask is None or bias is None:
        return mask if bias is None else bias
    return tree("torch.where({m}, {b}, float('-inf'))", m=mask, b=bias)


def _lengths(p: Parts) -> tuple[Dim, Dim]:
    q, k = p.var("q"), p.var("k")
    assert q is not None
    assert k is not None
    return q.type.shape[-2], k.type.shape[-2]


def _seen(p: Parts) -> Expr:
    """True where a query may see a key: the last query sees every key."""
    t, s = _lengths(p)
    T, S, rest = (p.place(literal(size)) for size in (t, s, s - t))
    return p.fill(
        "torch.ones({T}, {S}, dtype=torch.bool, device={q}.device).tril({rest})",
        T=T, S=S, rest=None if is_literal(rest, 0) else rest,
    )  # fmt: skip


# --------------------------------------------------------------------------------------- the class

_ATTRIBUTES = ("causal", "bias", "scale")
_DEFAULTS: Mapping[str, object] = {"causal": False, "bias": True, "scale": None}
_INPUTS = ("context", "keep", "mask")


@dataclass(frozen=True, slots=True)
class Uses:
    """What the attentions of a model have in common, and what tells them apart.

    fixed   the attributes that all of them share, with their values
    open    the attributes that the constructor takes
    given   of the optional inputs, whether "all", "some" or none of them ("") have it
    wide    whether one attends to tensors of another width than its own
    uneven  whether a causal one attends to something of another length
    """

    fixed: Mapping[str, object]
    open: tuple[str, ...]
    given: Mapping[str, str]
    wide: bool
    uneven: bool

    @property
    def inputs(self) -> list[str]:
        """The optional inputs that are used, those that all have first."""
        return [name for how in ("all", "some") for name in _INPUTS if self.given[name] == how]


def uses(program: Program) -> Uses | None:
    """How the program uses projected attention; None if it does not."""
    statements = (s for cls in program.classes for s in walk(cls.body))
    found = [s for s in statements if isinstance(s, Apply) and s.op.name == "attention"]
    if not found:
        return None
    fixed = {
        name: found[0].values[name]
        for name in _ATTRIBUTES
        if name in found[0].values and len({text(apply.attrs[name]) for apply in found}) == 1
    }
    return Uses(
        fixed,
        tuple(name for name in _ATTRIBUTES if name not in fixed),
        {name: _given(found, name) for name in _INPUTS},
        any(_width(apply) is not None for apply in found),
        any(_uneven(apply) for apply in found),
    )


def _given(found: Sequence[Apply], name: str) -> str:
    there = [_input(apply, name) is not None for apply in found]
    return "all" if all(there) else "some" if any(there) else ""


def _input(apply: Apply, name: str) -> Var | None:
    names = [n.rstrip("?") for n in apply.op.inputs]
    return apply.inputs[names.index(name)]


def _width(apply: Apply) -> Dim | None:
    """The width of the context, where it is not that of x."""
    x, context = _input(apply, "x"), _input(apply, "context")
    assert x is not None
    if context is None or context.type.shape[-1] == x.type.shape[-1]:
        return None
    return context.type.shape[-1]


def _uneven(apply: Apply) -> bool:
    x, context = _input(apply, "x"), _input(apply, "context")
    assert x is not None
    causal = not is_literal(apply.attrs["causal"], False)
    return causal and context is not None and context.type.shape[1] != x.type.shape[1]


class Attention:
    """The class of one emitted file that projects and attends, called `name` there."""

    def __init__(self, name: str, uses: Uses) -> None:
        self.name = name
        self.uses = uses

    def made(self, p: Parts) -> Expr:
        """Its construction: `Attention(D, heads)`."""
        width = _width(p.apply)
        options = "".join(f", {name}={{{name}_}}" for name in self.uses.open)
        return p.fill(
            f"{self.name}({{D}}, {{heads}}, width={{width}}{options})",
            D=p.place(literal(p.x.type.shape[-1])),
            width=None if width is None else p.place(literal(width)),
            **{f"{name}_": p.unless(name, _DEFAULTS[name]) for name in self.uses.open},
        )

    def applied(self, p: Parts) -> Expr:
        """Its application: by position as long as none is left out, then by keyword."""
        positional, keywords = [p["x"]], list[ast.keyword]()
        for place, name in enumerate(self.uses.inputs, 1):
            if p[name] is None:
                continue
            if len(positional) == place:
                positional.append(p[name])
            else:
                keywords.append(ast.keyword(name, p[name]))
        assert p.name is not None
        return ast.Call(p.name, positional, keywords)

    # ----------------------------------------------------------------------------- its source

    def source(self) -> str:
        """The class as text."""
        members = "\n".join(f"        {line}" for line in self._members())
        forward = "\n".join(f"        {line}" for line in self._forward())
        hints = {"all": "Tensor", "some": "Tensor | None = None"}
        inputs = [f"{name}: {hints[self.uses.given[name]]}" for name in self.uses.inputs]
        return (
            f"class {self.name}(nn.Module):\n    {docstring(self._doc())}\n\n"
            f"    def __init__({', '.join(self._arguments())}) -> None:\n"
            f"        super().__init__()\n{members}\n\n"
            f"    def forward({', '.join(['self', 'x: Tensor', *inputs])}) -> Tensor:\n{forward}\n"
        )

    def _doc(self) -> str:
        causal = "Causal multi-head" if self.uses.fixed.get("causal") else "Multi-head"
        to, source = {
            "": ("self-attention over (B, T, D)", "T"),
            "some": ("attention of x (B, T, D) to itself or to context (B, S, width)", "S"),
            "all": ("attention of x (B, T, D) to context (B, S, width)", "S"),
        }[self.uses.given["context"]]
        to = to if self.uses.wide else to.replace("width", "D")
        shapes = {"keep": f"`keep` (B, {source})", "mask": f"`mask` (B, heads, T, {source})"}
        masks = [shapes[name] for name in shapes if self.uses.given[name]]
        if not masks:
            return f"{causal} {to}."
        are = "is" if len(masks) == 1 else "are"
        rest = f"{' and '.join(masks)} {are} true where a position may be attended."
        line = f"{causal} {to}; {rest}"
        return line if len(line) <= LINE - 10 else f"{causal} {to}.\n\n    {rest}"

    def _arguments(self) -> list[str]:
        hints = {"causal": "bool = False", "bias": "bool = True", "scale": "float | None = None"}
        width = ["width: int | None = None"] if self.uses.wide else []
        options = [f"{name}: {hints[name]}" for name in self.uses.open]
        return ["self", "D: int", "heads: int", *width, *options]

    def _members(self) -> list[str]:
        kept = [name for name in ("causal", "scale") if name in self.uses.open]
        lines = [f"self.{name} = {name}" for name in ("heads", *kept)]
        lines += ["width = D if width is None else width"] if self.uses.wide else []
        width = "width" if self.uses.wide else "D"
        bias = self.uses.fixed.get("bias")
        more = "" if bias is True else ", bias=False" if bias is False else ", bias=bias"
        sizes = {"query": "D", "key": width, "value": width, "output": "D"}
        return lines + [f"self.{name} = nn.Linear({n}, D{more})" for name, n in sizes.items()]

    def _forward(self) -> list[str]:
        given = self.uses.given
        lines = ["context = x if context is None else context"] * (given["context"] == "some")
        plain = "for project in (self.query, self.key, self.value)"
        both = "for project, y in ((self.query, x), (self.key, context), (self.value, context))"
        lines += [
            "q, k, v = (",
            f"    project({'y' if given['context'] else 'x'})"
            ".unflatten(-1, (self.heads, -1)).transpose(1, 2)",
            f"    {both if given['context'] else plain}",
            ")",
        ]
        return [*lines, *self._masked(), "return self.output(y.transpose(1, 2).flatten(-2))"]

    def _masked(self) -> list[str]:
        """The lines that make `y`, by what may be there at a call."""
        keep, mask = self.uses.given["keep"], self.uses.given["mask"]
        kept = "keep[:, None, None, :]"
        lines: list[str] = []
        if keep and mask and "some" in (keep, mask):
            both = f"mask & {kept}"
            join = (
                f"mask = {kept} if mask is None else {both}" if mask == "some" else f"mask = {both}"
            )
            lines = ["if keep is not None:", f"    {join}"] if keep == "some" else [join]
            keep, mask = "", "some" if mask == "some" else "all"
        if "some" not in (keep, mask):
            terms = ["mask"] * bool(mask) + [kept] * bool(keep)
            return [*lines, *self._attend(terms)]
        name, term = ("keep", kept) if keep else ("mask", "mask")
        bare, masked = self._attend([]), self._attend([term])
        return [
            *lines, f"if {name} is None:", *(f"    {line}" for line in bare),
            "else:", *(f"    {line}" for line in masked),
        ]  # fmt: skip

    def _attend(self, terms: list[str]) -> list[str]:
        """`y`, where these masks are there."""
        causal = "self.causal" if "causal" in self.uses.open else str(self.uses.fixed["causal"])
        if causal == "False" or (not terms and not self.uses.uneven):
            flag = "" if causal == "False" else f", is_causal={causal}"
            return [self._call((f", attn_mask={' & '.join(terms)}" if terms else "") + flag)]
        between = bool(self.uses.given["context"])
        sizes = ["T, S = x.shape[1], context.shape[1]"] if between else ["T = x.shape[1]"]
        seen = "torch.ones(T, {}, dtype=torch.bool, device=x.device).tril({})".format(
            *(("S", "S - T") if between else ("T", ""))
        )
        if causal == "True":
            joined = " & ".join(["causal", *terms])
            return [*sizes, f"causal = {seen}", self._call(f", attn_mask={joined}")]
        if not terms:
            return [*sizes, f"causal = {seen} if self.causal else None",
                    self._call(", attn_mask=causal")]  # fmt: skip
        return [
            f"allowed = {' & '.join(terms)}", "if self.causal:", *(f"    {s}" for s in sizes),
            f"    allowed = allowed & {seen}", self._call(", attn_mask=allowed"),
        ]  # fmt: skip

    def _call(self, options: str) -> str:
        scale = "self.scale" if "scale" in self.uses.open else self.uses.fixed["scale"]
        scaled = "" if scale is None else f", scale={scale}"
        return f"y = F.scaled_dot_product_attention(q, k, v{options}{scaled})"
