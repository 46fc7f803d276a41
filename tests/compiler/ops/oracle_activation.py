"""Activations and losses in torch."""

from __future__ import annotations

import math

import torch
from torch.nn import functional as F


def gelu(x: torch.Tensor, approximate: str) -> torch.Tensor:
    if approximate == "tanh":
        return x * torch.sigmoid(2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))
    return x * torch.special.erfc(-x * math.sqrt(0.5)) / 2  # torch's own cancels for large -x


def celu(x: torch.Tensor, alpha: float) -> torch.Tensor:
    return torch.where(x > 0, x, alpha * torch.expm1(x / alpha))  # F.celu's slope is an f32


def kl_div(x: torch.Tensor, target: torch.Tensor, reduction: str) -> torch.Tensor:
    entropy = torch.where(target > 0, target * torch.log(torch.where(target > 0, target, 1.0)), 0.0)
    each = entropy - target * x
    return {"mean": torch.mean, "sum": torch.sum, "none": torch.clone}[reduction](each)


ACTIVATION = {
    "relu": F.relu,
    "relu6": F.relu6,
    "leaky_relu": lambda x, slope: F.leaky_relu(x, slope),
    "prelu": lambda x, weight, per_channel: F.prelu(x, weight),
    "elu": lambda x, alpha: F.elu(x, alpha),
    "selu": F.selu,
    "celu": celu,
    "gelu": gelu,
    "silu": F.silu,
    "mish": lambda x: x * torch.tanh(torch.logaddexp(x, torch.zeros_like(x))),
    "softplus": lambda x: torch.logaddexp(x, torch.zeros_like(x)),  # F.softplus is x from 20 on
    "softsign": F.softsign,
    "sigmoid": torch.sigmoid,
    "hard_sigmoid": lambda x: F.hardtanh(x + 3, 0.0, 6.0) / 6,  # F.hardsigmoid's 1/6 is an f32
    "hard_swish": F.hardswish,
    "hard_tanh": F.hardtanh,
    "softmax": lambda x, axis: torch.softmax(x, axis),
    "log_softmax": lambda x, axis: torch.log_softmax(x, axis),
    "glu": lambda x, axis: F.glu(x, axis),
    "log_sigmoid": lambda x: -torch.logaddexp(-x, torch.zeros_like(x)),
    "threshold": lambda x, bound, value: F.threshold(x, bound, value),
    "hard_shrink": lambda x, bound: F.hardshrink(x, bound),
    "soft_shrink": lambda x, bound: F.softshrink(x, bound),
    "tanh_shrink": F.tanhshrink,
    "softmin": lambda x, axis: F.softmin(x, axis),
    "reglu": lambda x, axis: x.chunk(2, axis)[0] * F.relu(x.chunk(2, axis)[1]),
    "geglu": lambda x, axis: x.chunk(2, axis)[0] * gelu(x.chunk(2, axis)[1], "none"),
    "swiglu": lambda x, axis: x.chunk(2, axis)[0] * F.silu(x.chunk(2, axis)[1]),
    "mse": lambda x, target, reduction: F.mse_loss(x, target, reduction=reduction),
    "mae": lambda x, target, reduction: F.l1_loss(x, target, reduction=reduction),
    "huber": lambda x, target, delta, reduction: F.huber_loss(x, target, reduction, delta),
    "bce_with_logits": lambda x, target, reduction: F.binary_cross_entropy_with_logits(
        x, target, reduction=reduction
    ),
    "kl_div": kl_div,
}
