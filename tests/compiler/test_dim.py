"""Sizes: one normal form, sound bounds, text that reads back."""

import operator

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mlc.compiler import dim, expr
from mlc.compiler.dim import Size, bounds, maximum, minimum, substitute, symbol

B, H, W, K = (symbol(name) for name in "BHWK")
NAMES = ("H", "W", "K")

leaves = st.one_of(st.integers(-6, 9), st.sampled_from([symbol(name) for name in NAMES]))
values = st.fixed_dictionaries({name: st.integers(1, 12) for name in NAMES})
OPERATIONS = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "//": operator.floordiv,
    "%": operator.mod,
    "min": minimum,
    "max": maximum,
}
trees = st.recursive(
    leaves,
    lambda inner: st.tuples(st.sampled_from(sorted(OPERATIONS)), inner, inner),
    max_leaves=7,
)


def size(tree):
    """The size that a tree of operations makes; None where it divides by zero."""
    if not isinstance(tree, tuple):
        return tree
    kind, a, b = tree[0], size(tree[1]), size(tree[2])
    if a is None or b is None or (kind in ("//", "%") and isinstance(b, int) and b == 0):
        return None
    return OPERATIONS[kind](a, b)


def number(tree, sizes):
    """The same on Python's integers; None where it divides by zero."""
    if not isinstance(tree, tuple):
        return sizes[str(tree)] if isinstance(tree, Size) else tree
    kind, a, b = tree[0], number(tree[1], sizes), number(tree[2], sizes)
    if a is None or b is None or (kind in ("//", "%") and b == 0):
        return None
    return {**OPERATIONS, "min": min, "max": max}[kind](a, b)


@given(trees, values)
@settings(max_examples=600, deadline=None)
def test_a_size_is_what_its_operations_say(tree, sizes):
    symbolic, wanted = size(tree), number(tree, sizes)
    assume(symbolic is not None and wanted is not None)
    assert dim.evaluate(symbolic, sizes) == wanted


@given(trees, values)
@settings(max_examples=400, deadline=None)
def test_bounds_hold_every_value(tree, sizes):
    symbolic, wanted = size(tree), number(tree, sizes)
    assume(symbolic is not None and wanted is not None)
    low, high = bounds(symbolic)
    assert low <= wanted <= high
    low, high = bounds(symbolic, {"H": (2, 9), "W": (sizes["W"], sizes["W"])})
    assert not 2 <= sizes["H"] <= 9 or low <= wanted <= high


@given(trees)
@settings(max_examples=400, deadline=None)
def test_text_reads_back_as_the_same_size(tree):
    symbolic = size(tree)
    assume(symbolic is not None)
    read = expr.evaluate(expr.parse(str(symbolic)), {name: symbol(name) for name in NAMES})
    assert read == symbolic


@given(trees, values)
@settings(max_examples=300, deadline=None)
def test_substitution_in_steps_is_substitution_at_once(tree, sizes):
    symbolic, wanted = size(tree), number(tree, sizes)
    assume(symbolic is not None and wanted is not None)
    try:
        partly = substitute(symbolic, {"H": sizes["H"]})
    except ZeroDivisionError:
        assume(False)
    assert dim.evaluate(partly, sizes) == wanted
    renamed = substitute(symbolic, {name: symbol(name.lower()) for name in NAMES})
    assert dim.evaluate(renamed, {name.lower(): n for name, n in sizes.items()}) == wanted


@given(trees, trees)
@settings(max_examples=200, deadline=None)
def test_sums_and_products_are_a_ring(left, right):
    a, b = size(left), size(right)
    assume(a is not None and b is not None)
    assert a + b == b + a
    assert a * b == b * a
    assert (a + b) - b == a
    assert (a + b) * (a - b) == a * a - b * b
    assert hash(a + b) == hash(b + a)


@given(trees, st.integers(1, 6), st.integers(1, 6), st.integers(-6, 6))
@settings(max_examples=200, deadline=None)
def test_floors_have_one_form(tree, k, m, c):
    a = size(tree)
    assume(a is not None)
    assert (a + k * c) // k == a // k + c
    assert (a + k * c) % k == a % k
    assert (k * a) // (k * m) == a // m
    assert (k * a) % (k * m) == k * (a % m)


@given(st.integers(-3, 3), st.integers(-3, 3), st.integers(-9, 9), st.integers(1, 4))
@settings(deadline=None)
def test_extremes_have_one_form(h, k, c, factor):
    a = h * H + k * (K // 3) + c
    for extreme in (minimum, maximum):
        assert extreme(a + H, a + W) == a + extreme(H, W)
        assert extreme(factor * H, factor * W) == factor * extreme(H, W)
        assert extreme(a, extreme(H, W)) == extreme(extreme(a, W), H)
        assert extreme(a, a) == a


EQUAL = [
    ((H - 1) // 2 + 1, (H + 1) // 2),
    (H // 2 // 2, H // 4),
    (((H + 1) // 2 + 1) // 2, (H + 3) // 4),
    ((H // 2 + W) // 3, (H + 2 * W) // 6),
    ((2 * H + 1) // 4, H // 2),
    ((2 * H + 4) // 6, (H + 2) // 3),
    ((2 * H + 1) % 4, 2 * (H % 2) + 1),
    ((H * W + W) // (H + 1), W),
    ((H * W) // (2 * W), H // 2),
    ((H * W) % (2 * W), W * (H % 2)),
    ((H * H - 1) // (H - 1), H + 1),
    ((3 * H) // 2, H + H // 2),
    (-H // -2, H // 2),
    (H // -2, -H // 2),
    (H // W // 2, H // (2 * W)),
    (minimum(W - minimum(H, K), W), W - minimum(H, K)),
    ((H % 4) // 4, 0),
    (H % 1, 0),
    (1 // (H + 1), 0),
    (1 % (H + 1), 1),
    (minimum(H, minimum(W, K)), minimum(minimum(K, H), W)),
    (minimum(H, H + 1), H),
    (maximum(H, 1), H),
    (maximum(H - 1, 0), H - 1),
    (minimum(2 * H, 2 * W), 2 * minimum(H, W)),
    (minimum(H // 2, H), H // 2),
    (minimum(H * W, H), H),
    (minimum(H, minimum(H, W)), minimum(H, W)),
]


@pytest.mark.parametrize(("a", "b"), EQUAL, ids=[f"{a} == {b}" for a, b in EQUAL])
def test_equal_by_algebra(a, b):
    assert a == b


TEXTS = [
    (4 * H + B, "B + 4 * H"),
    ((H + 1) // 2, "(H + 1) // 2"),
    (1 - H // 2, "1 - H // 2"),
    (-(H // 2), "-(H // 2)"),
    (B * (H // 7) * (W // 7), "B * (H // 7) * (W // 7)"),
    (H * H, "H * H"),
    (minimum(symbol("T"), 1024), "min(1024, T)"),
    (H // W, "H // W"),
    ((H - 1) % (W + 1), "(H - 1) % (W + 1)"),
]


@pytest.mark.parametrize(("x", "text"), TEXTS, ids=[text for _, text in TEXTS])
def test_text(x, text):
    assert str(x) == text


DECIDED = [
    (H - 1, (0, float("inf"))),
    (H // 2 - H, (float("-inf"), -1)),
    ((H + 1) // 2 - H, (float("-inf"), 0)),
    (H * W - H, (0, float("inf"))),
    (H - 2 * (H // 2), (0, 1)),
    (H % 3, (0, 2)),
    (10**400 - H, (float("-inf"), 10**400 - 1)),
]


@pytest.mark.parametrize(("x", "interval"), DECIDED, ids=[str(x)[:20] for x, _ in DECIDED])
def test_bounds_are_tight(x, interval):
    assert bounds(x) == interval


def test_what_a_size_refuses():
    with pytest.raises(TypeError, match="is zero is not known"):
        bool(H)
    with pytest.raises(KeyError, match="W"):
        dim.evaluate(H * W, {"H": 1})
    for power in (-1, 17, 10**9):
        with pytest.raises(TypeError):
            H**power
    for operation in (operator.floordiv, operator.mod):
        with pytest.raises(ZeroDivisionError):
            operation(H, 0)
    for other in (0.5, "H", None):
        with pytest.raises(TypeError):
            H * other
