"""Resizing, and what else moves the elements of images, in torch."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F

from tests.compiler.ops.oracle_spatial import each, windows

RESIZED = {
    ("nearest", 3): "nearest", ("nearest", 4): "nearest", ("nearest", 5): "nearest",
    ("linear", 3): "linear", ("linear", 4): "bilinear", ("linear", 5): "trilinear",
    ("cubic", 4): "bicubic",
}  # fmt: skip


def resize(
    x: Any, size: Any, scale: Any, mode: str, coordinates: str, rounding: str, a: float,
    renormalise: bool, antialias: bool,
) -> torch.Tensor:  # fmt: skip
    n = x.ndim - 2
    if size is None:
        scales = (scale,) * n if isinstance(scale, int) else scale
        size = [int(old) * s for old, s in zip(x.shape[2:], scales, strict=True)]
    name = RESIZED[mode, x.ndim]
    if mode == "nearest":
        exact = coordinates == "half_pixel"
        return F.interpolate(x, size=list(size), mode="nearest-exact" if exact else name)
    if coordinates == "asymmetric":
        return _from_the_first(x, size[0])
    if mode == "cubic" and renormalise:
        return _cubic(_cubic(x, size[0], 2, a), size[1], 3, a)
    corners = coordinates == "align_corners"
    return F.interpolate(x, size=list(size), mode=name, align_corners=corners, antialias=antialias)


def _from_the_first(x: torch.Tensor, size: int) -> torch.Tensor:
    """Linear, place i at i * before / after."""
    at = torch.arange(size, dtype=x.dtype) * x.shape[2] / size
    low = at.floor().long()
    high = (low + 1).clamp(max=x.shape[2] - 1)
    return torch.lerp(x[..., low], x[..., high], at - low)


def _cubic(x: torch.Tensor, size: int, axis: int, a: float) -> torch.Tensor:
    """Keys' cubic, elements outside left out."""
    before = x.shape[axis]
    at = (torch.arange(size, dtype=x.dtype) + 0.5) * before / size - 0.5
    d = (at[:, None] - torch.arange(before, dtype=x.dtype)).abs()
    near = (a + 2) * d**3 - (a + 3) * d**2 + 1
    far = a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a
    share = torch.where(d <= 1, near, torch.where(d < 2, far, 0.0))
    share = share / share.sum(1, keepdim=True)
    return torch.tensordot(x, share, ([axis], [1])).movedim(-1, axis)


def pixel_shuffle(x: Any, factor: int, order: str) -> torch.Tensor:
    if order == "dcr":
        x = x.unflatten(1, (factor * factor, -1)).transpose(1, 2).flatten(1, 2)
    return F.pixel_shuffle(x, factor)


def pixel_unshuffle(x: Any, factor: int, order: str) -> torch.Tensor:
    y = F.pixel_unshuffle(x, factor)
    if order == "dcr":
        y = y.unflatten(1, (-1, factor * factor)).transpose(1, 2).flatten(1, 2)
    return y


def unfold(x: Any, kernel: Any, stride: Any, pad: Any, dilation: Any) -> torch.Tensor:
    if x.ndim == 4:
        return F.unfold(x, kernel, dilation, pad, stride)
    found = windows(x, kernel, stride, pad, dilation, False, 0.0)
    return found.movedim(-1, 2).flatten(1, 2)


def fold(x: Any, sizes: Any, **attrs: Any) -> torch.Tensor:
    """The adjoint by definition: the gradient of <unfold(z), x>."""
    with torch.enable_grad():
        channels = x.shape[1] // math.prod(each(attrs["kernel"], len(sizes)))
        z = torch.zeros(x.shape[0], channels, *sizes, dtype=x.dtype, requires_grad=True)
        graph = x.requires_grad
        (result,) = torch.autograd.grad(unfold(z, **attrs), z, x, create_graph=graph)
    return result


def lp_pool(x: Any, power: float, kernel: Any, stride: Any, ceil: bool) -> torch.Tensor:
    """By hand: torch has none over three axes, and takes the sign of the sum."""
    stride = kernel if stride is None else stride
    powers = windows(x.abs() ** power, kernel, stride, 0, 1, ceil, 0.0)
    return powers.flatten(x.ndim).sum(-1) ** (1 / power)


def _places(x: torch.Tensor) -> tuple[int, ...]:
    return tuple(range(2, x.ndim))


def _by_index(x: torch.Tensor, pads: Any, place: Any) -> torch.Tensor:
    for axis, (low, high) in enumerate(pads):
        n = x.shape[axis]
        x = x.index_select(axis, place(torch.arange(-low, n + high), n))
    return x


AVG = {3: F.adaptive_avg_pool1d, 4: F.adaptive_avg_pool2d, 5: F.adaptive_avg_pool3d}
MAX = {3: F.adaptive_max_pool1d, 4: F.adaptive_max_pool2d, 5: F.adaptive_max_pool3d}

IMAGE = {
    "global_avg_pool": lambda x, keep: x.mean(_places(x), keep),
    "global_max_pool": lambda x, keep: x.amax(_places(x), keep),
    "adaptive_avg_pool": lambda x, size: AVG[x.ndim](x, size),
    "adaptive_max_pool": lambda x, size: MAX[x.ndim](x, size),
    "lp_pool": lp_pool,
    "resize": resize,
    "grid_sample": lambda x, grid, mode, padding, align_corners: F.grid_sample(
        x, grid, {"linear": "bilinear"}.get(mode, mode), padding, align_corners
    ),
    "pad_circular": lambda x, pads: _by_index(x, pads, lambda at, n: at % n),
    "pad_symmetric": lambda x, pads: _by_index(
        x, pads, lambda at, n: torch.where(at % (2 * n) < n, at % (2 * n), 2 * n - 1 - at % (2 * n))
    ),
    "pixel_shuffle": pixel_shuffle,
    "pixel_unshuffle": pixel_unshuffle,
    "unfold": unfold,
    "fold": fold,
}
