"""Convolutions, pools and channel norms in torch."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F

CONV = {3: F.conv1d, 4: F.conv2d, 5: F.conv3d}
CONV_TRANSPOSE = {3: F.conv_transpose1d, 4: F.conv_transpose2d, 5: F.conv_transpose3d}
AVG_POOL = {3: F.avg_pool1d, 4: F.avg_pool2d, 5: F.avg_pool3d}
MAX_POOL = {3: F.max_pool1d, 4: F.max_pool2d, 5: F.max_pool3d}


def each(value: Any, n: int) -> tuple[int, ...]:
    return (value,) * n if isinstance(value, int) else tuple(value)


def pairs(x: torch.Tensor, kernel: Any, stride: Any, pad: Any, dilation: Any) -> list[Any]:
    """(low, high) for each spatial axis."""
    n = x.ndim - 2
    if pad != "same":
        return [(p, p) if isinstance(p, int) else p for p in (each(pad, n))]
    result = []
    axes = zip(x.shape[2:], each(kernel, n), each(stride, n), each(dilation, n), strict=True)
    for size, k, s, d in axes:
        total = max((math.ceil(size / s) - 1) * s + d * (k - 1) + 1 - size, 0)
        result.append((total // 2, total - total // 2))
    return result


def padded(x: torch.Tensor, pads: list[Any], value: float = 0.0) -> torch.Tensor:
    return F.pad(x, [n for pair in reversed(pads) for n in pair], value=value)


def conv(
    x: Any, weight: Any, bias: Any, /, kernel: Any, stride: Any, pad: Any, dilation: Any,
    groups: int, **_: Any,
) -> torch.Tensor:  # fmt: skip
    x = padded(x, pairs(x, kernel, stride, pad, dilation))
    return CONV[x.ndim](x, weight, bias, stride, 0, dilation, groups)


def conv_transpose(
    x: Any, weight: Any, bias: Any, /, kernel: Any, stride: Any, pad: Any, output_pad: Any,
    dilation: Any, groups: int, **_: Any,
) -> torch.Tensor:  # fmt: skip
    """Torch's pads are equal at both ends: what is unequal is cut from the unpadded result."""
    if isinstance(pad, int):
        args = (stride, pad, output_pad, groups, dilation)
        return CONV_TRANSPOSE[x.ndim](x, weight, bias, *args)
    n = x.ndim - 2
    y = CONV_TRANSPOSE[x.ndim](x, weight, bias, stride, 0, 0, groups, dilation)
    y = F.pad(y, [p for more in reversed(each(output_pad, n)) for p in (0, more)])
    for axis, (low, high) in enumerate(pad):
        y = y.narrow(axis + 2, low, y.shape[axis + 2] - low - high)
    return y


def windows(
    x: Any, kernel: Any, stride: Any, pad: Any, dilation: Any, ceil: bool, value: float
) -> torch.Tensor:
    n = x.ndim - 2
    kernel, stride, dilation = each(kernel, n), each(stride, n), each(dilation, n)
    sizes = x.shape[2:]
    x = padded(x, pairs(x, kernel, stride, pad, dilation), value)
    if ceil:
        x = padded(x, [(0, s - 1) for s in stride], value)
    for i in range(n):
        extent = dilation[i] * (kernel[i] - 1) + 1
        x = x.unfold(i + 2, extent, stride[i])[..., :: dilation[i]]
        low = pairs(x, kernel, stride, pad, dilation)[i][0] if pad != "same" else 0
        starts = [p * stride[i] for p in range(x.shape[i + 2])]
        if ceil:
            kept = sum(start < sizes[i] + low for start in starts)
            x = x.narrow(i + 2, 0, kept)
    return x


def windows_add(x: Any, sizes: Any, **attrs: Any) -> torch.Tensor:
    """The adjoint by definition: the gradient of <windows(z), x>."""
    with torch.enable_grad():
        z = torch.zeros(*x.shape[:2], *sizes, dtype=x.dtype, requires_grad=True)
        (result,) = torch.autograd.grad(
            windows(z, value=0.0, **attrs), z, x, create_graph=x.requires_grad
        )
    return result


def max_pool(x: Any, kernel: Any, stride: Any, pad: Any, dilation: Any, ceil: bool) -> torch.Tensor:
    stride = kernel if stride is None else stride
    if isinstance(pad, int):
        return MAX_POOL[x.ndim](x, kernel, stride, pad, dilation, ceil)
    return windows(x, kernel, stride, pad, dilation, ceil, -math.inf).flatten(x.ndim).amax(-1)


def avg_pool(
    x: Any, kernel: Any, stride: Any, pad: Any, ceil: bool, count_pad: bool
) -> torch.Tensor:
    stride = kernel if stride is None else stride
    if isinstance(pad, int):
        return AVG_POOL[x.ndim](x, kernel, stride, pad, ceil, count_pad)
    assert not count_pad
    total, count = (
        windows(z, kernel, stride, pad, 1, ceil, 0.0).flatten(x.ndim).sum(-1)
        for z in (x, torch.ones_like(x))
    )
    return total / count


SPATIAL = {
    "max_pool": max_pool,
    "avg_pool": avg_pool,
    "windows": windows,
    "windows_add": windows_add,
    "conv": conv,
    "conv_transpose": conv_transpose,
}


def batch_norm(
    x: Any, weight: Any, bias: Any, mean: Any, var: Any, eps: float, momentum: float,
    training: bool, **_: Any,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:  # fmt: skip
    if not training:
        shape = (-1,) + (1,) * (x.ndim - 2)
        y = (x - mean.reshape(shape)) / (var.reshape(shape) + eps).sqrt()
        for tensor, apply in ((weight, torch.mul), (bias, torch.add)):
            y = y if tensor is None else apply(y, tensor.reshape(shape))
        return y, mean.detach(), var.detach()
    mean, var = mean.detach().clone(), var.detach().clone()
    return F.batch_norm(x, mean, var, weight, bias, True, momentum, eps), mean, var


def layer_norm(
    x: Any, weight: Any, bias: Any, /, axes: tuple[int, ...], eps: float, **_: Any
) -> torch.Tensor:
    last = tuple(range(x.ndim - len(axes), x.ndim))
    shape = [x.shape[axis] for axis in axes]
    return F.layer_norm(x.movedim(axes, last), shape, weight, bias, eps).movedim(last, axes)


def rms_norm(x: Any, weight: Any, axes: tuple[int, ...], eps: float, **_: Any) -> torch.Tensor:
    return F.rms_norm(x, [x.shape[axis] for axis in axes], weight, eps)


def group_norm(x: Any, weight: Any, bias: Any, groups: int, eps: float, **_: Any) -> torch.Tensor:
    return F.group_norm(x, groups, weight, bias, eps)


def l2_normalize(x: Any, axes: tuple[int, ...], eps: float) -> torch.Tensor:
    square = x.square().sum(axes, keepdim=True)
    if len(axes) == 1:
        return F.normalize(x, dim=axes[0], eps=eps)
    return x / square.clamp(min=eps * eps).sqrt()


NORM = {
    "l2_normalize": l2_normalize,
    "local_response_norm": lambda x, size, alpha, beta, k: F.local_response_norm(
        x, size, alpha, beta, k
    ),
    "weight_norm": lambda v, g, axis: torch._weight_norm(
        v, g.reshape([-1 if i == axis else 1 for i in range(v.ndim)]), axis
    ),
    "batch_norm": batch_norm,
    "layer_norm": layer_norm,
    "rms_norm": rms_norm,
    "group_norm": group_norm,
    "instance_norm": lambda x, weight, bias, eps, **_: F.instance_norm(
        x, weight=weight, bias=bias, eps=eps
    ),
}
