"""Sums of products by names of axes: einsum. Every axis is named; nothing is implied."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from ..array import np
from ..dim import Dim
from ..graph import Type, Value
from ..op import BODY, Build, Config, Op, TypeMismatch, require_equal
from .broadcast import require_numeric, require_same_dtype
from .elementwise import MUL
from .linear import MATMUL
from .reduce import SUM
from .shape import RESHAPE, TRANSPOSE, UNSQUEEZE, product

_FORM = re.compile(r"[A-Za-z]*(,[A-Za-z]*)*->[A-Za-z]*")


def parsed(spec: str) -> tuple[tuple[str, ...], str]:
    """The letters of each tensor and of the result; raises on what leaves anything open."""
    text = spec.replace(" ", "")
    help = 'write a letter for each axis of each tensor, and the result: "bij,bjk->bik"'
    if not _FORM.fullmatch(text):
        raise TypeMismatch(f"einsum does not read {spec!r}", "value", help=help)
    left, _, result = text.partition("->")
    terms = tuple(left.split(","))
    for term in (*terms, result):
        if len(set(term)) < len(term):
            message = f"einsum of {spec!r} names an axis of {term!r} twice"
            raise TypeMismatch(message, "value", help="take the diagonal before")
    for letter in result:
        if letter not in left:
            raise TypeMismatch(f"einsum of {spec!r}: no tensor has an axis {letter}", "value")
    return terms, result


def _infer(*xs: Type, spec: str) -> Type:
    terms, result = parsed(spec)
    if len(terms) != len(xs):
        raise TypeMismatch(f"einsum of {spec!r} takes {len(terms)} tensors, and gets {len(xs)}")
    require_numeric("einsum", *xs)
    require_same_dtype("einsum", *xs)
    sizes: dict[str, Dim] = {}
    labels: dict[str, str | None] = {}
    for term, x in zip(terms, xs, strict=True):
        if len(term) != x.rank:
            raise TypeMismatch(
                f"einsum of {spec!r} takes {term!r} for {x}, which has {x.rank} axes"
            )
        for letter, size, label in zip(term, x.shape, x.labels, strict=True):
            message = f"einsum of {spec!r}: {letter} is {sizes.get(letter)}, and {size} in {x}"
            sizes[letter] = require_equal(sizes.get(letter, size), size, message)
            labels[letter] = labels.get(letter) or label
    return Type(xs[0].dtype, tuple(sizes[c] for c in result), tuple(labels[c] for c in result))


class _Term:
    """A tensor, and the letters of its axes."""

    def __init__(self, b: Build, letters: str, value: Value) -> None:
        self.b = b
        self.letters = letters
        self.value = value

    def summed(self, kept: str) -> _Term:
        """Summed over the axes that are not kept."""
        axes = tuple(i for i, c in enumerate(self.letters) if c not in kept)
        if not axes:
            return self
        left = "".join(c for c in self.letters if c in kept)
        return _Term(self.b, left, self.b(SUM, self.value, axes=axes))

    def moved(self, letters: str) -> Value:
        """With its axes in this order."""
        if letters == self.letters:
            return self.value
        axes = tuple(self.letters.index(c) for c in letters)
        result: Value = self.b(TRANSPOSE, self.value, axes=axes)
        return result

    def sizes(self, letters: str) -> tuple[Dim, ...]:
        """The sizes of these axes."""
        return tuple(self.value.type.shape[self.letters.index(c)] for c in letters)

    def merged(self, *groups: str) -> Value:
        """With its axes in this order, each group after the first as one axis."""
        value = self.moved("".join(groups))
        if all(len(group) == 1 for group in groups[1:]):
            return value
        shape = (*self.sizes(groups[0]), *(product(self.sizes(group)) for group in groups[1:]))
        result: Value = self.b(RESHAPE, value, shape=shape)
        return result

    def spread(self, letters: str) -> Value:
        """With an axis of size 1 for each letter that it does not have."""
        value = self.moved("".join(c for c in letters if c in self.letters))
        new = tuple(i for i, c in enumerate(letters) if c not in self.letters)
        result: Value = self.b(UNSQUEEZE, value, axes=new) if new else value
        return result


def _product(first: _Term, second: _Term, needed: str) -> _Term:
    """The product of two, summed over the axes of both that are not needed further on."""
    b = first.b
    first = first.summed(needed + second.letters)
    second = second.summed(needed + first.letters)
    common = "".join(c for c in first.letters if c in second.letters)
    kept = "".join(c for c in common if c in needed)
    gone = "".join(c for c in common if c not in needed)
    left = "".join(c for c in first.letters if c not in common)
    right = "".join(c for c in second.letters if c not in common)
    letters = kept + left + right
    if not gone:
        return _Term(b, letters, b(MUL, first.spread(letters), second.spread(letters)))
    y = b(MATMUL, first.merged(kept, left, gone), second.merged(kept, gone, right))
    if len(left) != 1 or len(right) != 1:
        y = b(RESHAPE, y, shape=first.sizes(kept + left) + second.sizes(right))
    return _Term(b, letters, y)


def _body(b: Build, *xs: Value, spec: str) -> Value:
    terms, result = parsed(spec)
    done = _Term(b, terms[0], xs[0])
    for i, x in enumerate(xs[1:], 1):
        done = _product(done, _Term(b, terms[i], x), result + "".join(terms[i + 1 :]))
    return done.summed(result).moved(result)


def _eval(*xs: Any, spec: str) -> Any:
    return np.einsum(spec.replace(" ", ""), *xs)


def _specs() -> Sequence[dict[str, Any]]:
    return (
        {"xs": ((3, 5), (5, 2)), "spec": "ij,jk->ik"},
        {"xs": ((2, 3, 4, 5), (2, 7, 4, 5)), "spec": "bihd, bjhd -> bhij"},
        {"xs": ((2, 3, 5), (4, 5, 3)), "spec": "bij,oji->bo"},
        {"xs": ((2, 3), (5, 7), (3, 5)), "spec": "ab,cd,bc->ad"},
        {"xs": ((3, 5), (5,)), "spec": "ij,j->i"},
        {"xs": ((3,), (5,)), "spec": "i,j->ji"},
        {"xs": ((3, 5), (3, 5)), "spec": "ij,ij->"},
        {"xs": ((2, 3, 5),), "spec": "abc->ca"},
        {"xs": ((2, 3, 4), (3, 5), (4, 6), (2, 5, 6)), "spec": "bij,io,jp,bop->b"},
        {"xs": (((2, 3), "i32"), ((3, 4), "i32")), "spec": "ij,jk->ik"},
    )


EINSUM = Op(
    "einsum",
    inputs=("*xs",),
    config={"spec": Config("str", doc='letters of the axes of each tensor: "bij,bjk->bik"')},
    infer=_infer,
    eval=_eval,
    body=_body,
    grad=BODY,
    rounding="sum",
    samples=tuple(_specs()),
    doc="Products of tensors, summed over the axes whose letter the result does not have. Each"
    " axis has a letter, none twice in one tensor, and the result is written.",
)
