"""The error function, to the last digit or two of float64 (NumPy has none)."""

from __future__ import annotations

from typing import Any

from ..array import np

# W. J. Cody, Rational Chebyshev approximations for the error function, Math. Comp. 23 (1969).
_SMALL = (
    (1.85777706184603153e-1, 3.16112374387056560, 1.13864154151050156e2, 3.77485237685302021e2,
     3.20937758913846947e3),
    (1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3,
     2.84423683343917062e3),
)  # fmt: skip
_MIDDLE = (
    (2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594, 6.61191906371416295e1,
     2.98635138197400131e2, 8.81952221241769090e2, 1.71204761263407058e3, 2.05107837782607147e3,
     1.23033935479799725e3),
    (1.0, 1.57449261107098347e1, 1.17693950891312499e2, 5.37181101862009858e2,
     1.62138957456669019e3, 3.29079923573345963e3, 4.36261909014324716e3, 3.43936767414372164e3,
     1.23033935480374942e3),
)  # fmt: skip
_LARGE = (
    (1.63153871373020978e-2, 3.05326634961232344e-1, 3.60344899949804439e-1,
     1.25781726111229246e-1, 1.60837851487422766e-2, 6.58749161529837803e-4),
    (1.0, 2.56852019228982242, 1.87295284992346725, 5.27905102951428412e-1,
     6.05183413124413191e-2, 2.33520497626869185e-3),
)  # fmt: skip


def _ratio(x: Any, coefficients: tuple[tuple[float, ...], tuple[float, ...]]) -> Any:
    """The quotient of two polynomials, highest powers first."""
    above, below = (np.full_like(x, side[0]) for side in coefficients)
    for p, q in zip(*(side[1:] for side in coefficients), strict=True):
        above = above * x + p
        below = below * x + q
    return above / below


def _tail(x: Any) -> Any:
    """erfc of x >= 0.5 (float64)."""
    result = np.empty_like(x)
    middle = x <= 4.0
    result[middle] = _ratio(x[middle], _MIDDLE)
    far = x[~middle]
    inverse = 1.0 / np.square(far)
    scaled = inverse * _ratio(inverse, _LARGE)
    result[~middle] = (1.0 / np.sqrt(np.pi) - scaled) / far
    coarse = np.trunc(x * 16.0) / 16.0  # exp(-x * x) in two factors, since x * x is rounded
    return result * np.exp(-coarse * coarse) * np.exp(-(x - coarse) * (x + coarse))


def erf(x: Any) -> Any:
    """2 / sqrt(pi) times the integral of exp(-t * t) from 0 to x, in the dtype of `x`."""
    wide = np.asarray(x, np.float64)
    size = np.minimum(np.abs(wide), 6.0)  # where float64 is 1; a NaN stays
    result = wide.copy()
    near = size < 0.5
    result[near] *= _ratio(np.square(wide[near]), _SMALL)
    far = size >= 0.5
    result[far] = np.sign(wide[far]) * (1.0 - _tail(size[far]))
    return result.astype(x.dtype)


def erfc(x: Any) -> Any:
    """1 - erf(x), without the cancellation of that difference, in the dtype of `x`."""
    wide = np.asarray(x, np.float64)
    result = np.asarray(1.0 - erf(wide))
    far = wide >= 0.5
    result[far] = _tail(np.minimum(wide[far], 30.0))
    return result.astype(x.dtype)
