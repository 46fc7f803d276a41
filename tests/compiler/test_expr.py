"""Static expressions: exact, three-valued on sizes, and safe to print and read back."""

import ast
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlc.compiler import dim, expr
from mlc.compiler.dim import bounds, maximum, minimum, symbol
from mlc.compiler.expr import Ratio, Undecided, evaluate, literal, parse, settle, show
from mlc.compiler.graph import Fact
from mlc.compiler.op import collecting

B, H, W, T = (symbol(name) for name in "BHWT")
NAMES = {"B": B, "H": H, "W": W, "T": T, "xs": [1, 2, 3], "n": 4, "half": Fraction(1, 2)}


def value(text):
    return evaluate(parse(text), NAMES)


VALUES = [
    ("7 / 2", Fraction(7, 2)),
    ("8 / 2", 4),
    ("1 / 3 + 2 / 3", 1),
    ("7.0 / 2", 3.5),
    ("2 ** -2", Fraction(1, 4)),
    ("n ** 2 + 1", 17),
    ("sqrt(16)", 4),
    ("sqrt(2)", 2**0.5),
    ("ceil(7 / 2)", 4),
    ("floor(-7 / 2)", -4),
    ("ceil(H / 2)", (H + 1) // 2),
    ("floor(H / 2)", H // 2),
    ("ceil(H / W)", (H + W - 1) // W),
    ("ceil(H / 2 / 2)", (H + 3) // 4),
    ("ceil(H)", H),
    ("H * W / W", H),
    ("(2 * H + 4) / 2", H + 2),
    ("int(H)", H),
    ("min(H, 3, W)", minimum(minimum(H, W), 3)),
    ("max(H, 1)", H),
    ("abs(H - W)", maximum(H - W, W - H)),
    ("sum([H, 1, W])", H + W + 1),
    ("[x for x in xs]", TypeError),
    ("xs[-1]", 3),
    ("xs[1:]", [2, 3]),
    ("len(xs) == 3 and not n < 4", True),
    ("1 < n <= 4", True),
    ("1 < n < 4 < unknown", KeyError),
    ("'a' in 'abc'", True),
    ("n if n > 3 else missing", 4),
    ("list(zip(xs, xs))", TypeError),
    ("zip(xs, [4, 5, 6])", [(1, 4), (2, 5), (3, 6)]),
    ("enumerate([7])", [(0, 7)]),
    ("range(1, n)", [1, 2, 3]),
    ("H.__class__", TypeError),
    ("(lambda: 1)()", TypeError),
    ("__import__('os')", TypeError),
]


@pytest.mark.parametrize(("text", "wanted"), VALUES, ids=[text for text, _ in VALUES])
def test_value(text, wanted):
    if isinstance(wanted, type):
        with pytest.raises(wanted):
            value(text)
    else:
        assert value(text) == wanted
        assert type(value(text)) is type(wanted)


COMPARED = [
    ("H >= 1", True),
    ("H < 1", False),
    ("H == H", True),
    ("H + 1 != H", True),
    ("H == 1", Undecided),
    ("H < W", Undecided),
    ("1 <= H and H < T", Undecided),
    ("H // 2 <= H", True),
    ("H in [1, 2]", Undecided),
    ("H in [W, H]", True),
    ("H not in [0, -1]", True),
    ("0 in [H, W]", False),
    ("[H, 1] == [H, 2]", False),
    ("[H, W] == [W, 0]", False),
    ("[H, 1] == [W, 1]", Undecided),
    ("'same' == H", False),
]


@pytest.mark.parametrize(("text", "wanted"), COMPARED, ids=[text for text, _ in COMPARED])
def test_comparison_of_sizes(text, wanted):
    if wanted is Undecided:
        with pytest.raises(Undecided):
            value(text)
    else:
        assert value(text) is wanted


def test_undecided_names_the_comparison():
    with pytest.raises(Undecided, match=r"^H < W$"):
        value("H < W")


def test_a_ratio_in_arithmetic_records_that_it_divides():
    with collecting([]) as facts:
        assert value("B * (H / 7) * (W / 7)") == B * (H // 7) * (W // 7)
        assert value("1 - H / 7") == 1 - H // 7
        assert value("ceil(H / 2) + floor(W / 2)") == (H + 1) // 2 + W // 2
    assert facts == [Fact("divides", 7, H), Fact("divides", 7, W)]
    with pytest.raises(ValueError, match=r"\(2 \* H \+ 1\) / 2 is not an integer"):
        value("(2 * H + 1) / 2 * W")


@given(st.integers(1, 40), st.integers(1, 9), st.integers(-5, 5))
@settings(deadline=None)
def test_rounding_a_ratio_is_rounding_the_number(h, k, c):
    ratio = expr.divide(H + c, k)
    exact = Fraction(h + c, k)
    assert dim.evaluate(expr.ceil(ratio), {"H": h}) == expr.ceil(exact)
    assert dim.evaluate(expr.floor(ratio), {"H": h}) == expr.floor(exact)
    by_size = expr.divide(H, W * k)
    assert dim.evaluate(expr.ceil(by_size), {"H": h, "W": 3}) == expr.ceil(Fraction(h, 3 * k))


@given(st.integers(1, 9), st.integers(1, 9), st.integers(-6, 6))
@settings(deadline=None)
def test_decided_comparisons_are_true(h, w, c):
    for text in ("H + c <= W * H", "H == W + c", "H // 2 < W + c", "H in [W, c]", "H - W > c"):
        try:
            decided = evaluate(parse(text), {"H": H, "W": W, "c": c})
        except Undecided:
            continue
        assert decided == evaluate(parse(text), {"H": h, "W": w, "c": c})


static = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False)
    | st.fractions(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner),
    max_leaves=6,
)  # fmt: skip


@given(static)
@settings(deadline=None)
def test_a_literal_is_its_value(x):
    read = parse(show(literal(x)))
    assert evaluate(read, {}) == x
    assert expr.same(expr.parse(show(read)), read)


def test_literals():
    assert evaluate(literal((H, H // 2 - 1)), NAMES) == (H, H // 2 - 1)
    with pytest.raises(TypeError, match="is not a static value"):
        literal(object())


def test_substitution_leaves_functions_and_the_original():
    original = parse("min(min, H) + xs[min]")
    changed = expr.substitute(original, {"min": parse("a + b"), "H": ast.Constant(3)})
    assert show(changed) == "min(a + b, 3) + xs[a + b]"
    assert show(original) == "min(min, H) + xs[min]"
    assert expr.names(original) == {"min", "H", "xs"}


def test_settle_passes_what_is_no_ratio():
    assert settle(3) == 3
    assert settle(H) is H
    with collecting([]) as facts:
        assert settle(Ratio(H * W, 6)) == (H * W) // 6
    assert facts == [Fact("divides", 6, H * W)]
    assert bounds(settle(H))[0] == 1
