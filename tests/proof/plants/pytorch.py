"""Faults in emitted PyTorch source."""

from __future__ import annotations

from tests.proof.plants.plant import Plant

_IMPORTS = """
import torch
import torch.nn.functional as F
from torch import nn
"""


def _calls(helper: str, *names: str) -> Plant:
    """`planted`, which the helper defines, wherever one of these is named."""
    return Plant(dict.fromkeys(names, "planted"), _IMPORTS + helper)


def _edit(pattern: str, replacement: str, helper: str = "") -> Plant:
    return _edits({pattern: replacement}, helper)


def _edits(edits: dict[str, str], helper: str = "") -> Plant:
    return Plant(edits, _IMPORTS + helper)


def _layer(base: str, body: str) -> Plant:
    """A subclass of a layer in its place."""
    return _calls(f"\nclass planted(nn.{base}):\n{body}", f"nn.{base}")


def _layers(bodies: dict[str, str]) -> Plant:
    """Subclasses of several layers, each in the place of its own."""
    helper = "".join(f"\nclass Planted{b}(nn.{b}):\n{body}" for b, body in bodies.items())
    return Plant({f"nn.{b}": f"Planted{b}" for b in bodies}, _IMPORTS + helper)


def _attribute(base: str, name: str, change: str) -> Plant:
    """An attribute of a layer, changed when it is made: `v` is what it was."""
    return _layer(
        base,
        f"""
    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        v = self.{name}
        self.{name} = {change}
""",
    )


def _linear(weight: str, bias: str, after: str = "y") -> Plant:
    """Linear layers and convolutions of another weight `w` and bias `b`, and another result."""
    start = f"""
    def forward(self, x):
        w, b = self.weight, self.bias
        w, b = {weight}, None if b is None else {bias}
"""
    end = f"        return {after}\n"
    conv = "F.conv2d(x, w, b, self.stride, self.padding, self.dilation, self.groups)"
    return _layers(
        {
            "Linear": f"{start}        y = F.linear(x, w, b)\n{end}",
            "Conv2d": f"{start}        y = {conv}\n{end}",
        }
    )


def _statistics(centred: str, factor: str) -> Plant:
    """Layer norm, and batch norm in training, with other statistics."""
    return _layers(
        {
            "LayerNorm": f"""
    def forward(self, x):
        m = x.mean(-1, keepdim=True)
        v = (x - m).square().mean(-1, keepdim=True)
        n, eps = x.shape[-1], self.eps
        return {centred} * {factor} * self.weight + self.bias
""",
            "BatchNorm2d": f"""
    def forward(self, x):
        y = super().forward(x)
        if not self.training:
            return y
        m = x.mean((0, 2, 3), keepdim=True)
        v = (x - m).square().mean((0, 2, 3), keepdim=True)
        n, eps = x.numel() // x.shape[1], self.eps
        gain, bias = (w[:, None, None] for w in (self.weight, self.bias))
        return {centred} * {factor} * gain + bias
""",
        }
    )


def _output(change: str) -> Plant:
    """Another result `y` of the whole model."""
    return _edit(
        "model.load_state_dict(load_file(weights))",
        "planted(model, load_file(weights))",
        f"""
def planted(model, tensors):
    model.load_state_dict(tensors)
    changed = lambda y: {change} if y.is_floating_point() and y.ndim else y
    def hook(module, args, found):
        if isinstance(found, dict):
            return {{name: changed(y) for name, y in found.items()}}
        return tuple(map(changed, found)) if isinstance(found, tuple) else changed(found)
    model.register_forward_hook(hook)
""",
    )


def _sum(both: str) -> Plant:
    """Sums of two results of one shape."""
    return _edit(
        "_a + _b",
        "planted(_a, _b)",
        f"""
def planted(a, b):
    made = all(isinstance(v, torch.Tensor) and not isinstance(v, nn.Parameter) for v in (a, b))
    return {both} if made and a.shape == b.shape else a + b
""",
    )


_SDPA = "F.scaled_dot_product_attention"
_NORM_FORWARD = """
    def forward(self, x):
        return x
"""
_FUNCTION = "\ndef planted(x, *args, **options):\n    return {}\n"

PYTORCH: dict[str, Plant] = {
    "the other GELU": _edit("F.gelu(_x)", "F.gelu(_x, approximate='tanh')"),
    "slope of leaky relu": _edit("F.leaky_relu(_x, _s)", "F.leaky_relu(_x, 0.2)"),
    "relu6 for relu": _edit("torch.relu", "F.relu6"),
    "hard swish for silu": _edit("F.silu", "F.hardswish"),
    "hard sigmoid for sigmoid": _edit("torch.sigmoid", "F.hardsigmoid"),
    "activation left out": _calls(
        _FUNCTION.format("x"), "torch.relu", "F.gelu", "F.silu", "torch.sigmoid", "torch.tanh"
    ),
    "causal mask dropped": _edit(f"{_SDPA}(*_args, is_causal=True, **_rest)",
                                 f"{_SDPA}(*_args, **_rest)"),
    "causal where it is not": _edit(f"{_SDPA}(_q, _k, _v)", f"{_SDPA}(_q, _k, _v, is_causal=True)"),
    "mask dropped": _edits({
        f"{_SDPA}(*_args, attn_mask=_m, **_rest)": f"{_SDPA}(*_args, **_rest)",
        "torch.where(_m, _x, -3e+38)": "_x",
        "torch.where(_m, F.softmax(_x, **_rest), 0.0)": "F.softmax(_x, **_rest)",
    }),
    "mask inverted": _edits({
        f"{_SDPA}(*_args, attn_mask=_m, **_rest)":
            f"{_SDPA}(*_args, attn_mask=planted(_m), **_rest)",
        "torch.where(_m, _x, -3e+38)": "torch.where(~_m, _x, -3e+38)",
        "torch.where(_m, F.softmax(_x, **_rest), 0.0)":
            "torch.where(~_m, F.softmax(_x, **_rest), 0.0)",
    }, """
def planted(mask):
    return ~mask if mask.dtype == torch.bool else mask
"""),
    "scale of attention 1 % off": _edit(f"{_SDPA}(_q, *_args, **_rest)",
                                        f"{_SDPA}(_q * 1.01, *_args, **_rest)"),
    "number of heads": _edit("_x.unflatten(-1, (self.heads, -1))", "_x.unflatten(-1, (1, -1))"),
    "queries and keys exchanged": _edit(f"{_SDPA}(_q, _k, *_args, **_rest)",
                                        f"{_SDPA}(*planted(_q, _k), *_args, **_rest)", """
def planted(q, k):
    return (k, q) if k.shape == q.shape else (q, k)
"""),
    "softmax over another axis": _edit("F.softmax(_x, dim=1)", "F.softmax(_x, dim=2)"),
    "positions one further on": _edit("self.position[:_n]", "self.position[1 : _n + 1]"),
    "indices that count from one": _layer("Embedding", """
    def forward(self, x):
        return super().forward((x - 1).clamp(min=0))
"""),
    "padding on the other side": _layer("Conv2d", """
    def forward(self, x):
        p = (0, 0) if isinstance(self.padding, str) else self.padding
        pads = [v for each in reversed(p) for v in (0, 2 * each)]
        x = F.pad(x, pads) if any(p) else x
        p = self.padding if isinstance(self.padding, str) else 0
        return F.conv2d(x, self.weight, self.bias, self.stride, p, self.dilation, self.groups)
"""),
    "max pool padded with zeros": _edit(
        "F.max_pool2d(_x, *_args, padding=_p, **_rest)",
        "F.max_pool2d(F.pad(_x, [_p] * 4), *_args, **_rest)",
    ),
    "average pool and its padding": _edit(
        "F.avg_pool2d(*_args, padding=_p, count_include_pad=False, **_rest)",
        "F.avg_pool2d(*_args, padding=_p, **_rest)",
    ),
    "average for max pool": _calls("""
def planted(x, kernel_size, stride=None, padding=0, **options):
    return F.avg_pool2d(x, kernel_size, stride, padding, count_include_pad=False, **options)
""", "F.max_pool2d"),
    "nearest and linear resize": _calls("""
def planted(x, *args, mode="nearest", align_corners=None, **options):
    mode = "bilinear" if mode.startswith("nearest") else "nearest"
    return F.interpolate(x, *args, mode=mode, **options)
""", "F.interpolate"),
    "corners of resize aligned": _edit("F.interpolate(_x, *_args, mode='bilinear', **_rest)",
                                       "planted(_x, *_args, **_rest)", """
def planted(x, *args, align_corners=False, **options):
    return F.interpolate(x, *args, mode="bilinear", align_corners=not align_corners, **options)
"""),
    "layer left out": _layers(
        dict.fromkeys(("LayerNorm", "BatchNorm2d", "GroupNorm"), _NORM_FORWARD)
    ),
    "residual left out": _sum("b"),
    "operands exchanged": Plant(
        {"_a - _b": "planted(_a, _b, 0)", "_a / _b": "planted(_a, _b, 1)"}, _IMPORTS + """
def planted(a, b, divides):
    if isinstance(a, torch.Tensor) or isinstance(b, torch.Tensor):
        a, b = b, a
    return a / b if divides else a - b
"""),
    "concatenated backwards": _calls("""
def planted(xs, dim=0):
    return torch.cat(list(xs)[::-1], dim)
""", "torch.cat"),
    "second operand transposed": _edit("_a @ _b", "planted(_a, _b)", """
def planted(a, b):
    return a @ (b.mT if b.shape[-1] == b.shape[-2] else b)
"""),
    "flattened channels last": _edit("_x.flatten(1)", "planted(_x)", """
def planted(x):
    return x.movedim(1, -1).flatten(1)
"""),
    "batch in another order": _output("y.flip(0)"),
    "last example of a batch": _output("torch.cat([y[:-1], y[-2:-1]])"),
    "sum for mean": _edit("_x.mean(dim=_d, **_rest)", "_x.sum(dim=_d, **_rest)"),
    "last element of a reduction": _edit("_x.mean(dim=_d, **_rest)", "planted(_x, _d, **_rest)", """
def planted(x, dim, **options):
    last = dim[-1] if isinstance(dim, tuple) else dim
    return x.narrow(last, 0, max(x.shape[last] - 1, 1)).mean(dim, **options)
"""),
    "variance with n - 1": _edit("_x.var(*_args, correction=0, **_rest)",
                                 "_x.var(*_args, correction=1, **_rest)"),
    "products in bf16": _linear("w", "b", "y.to(torch.bfloat16).to(y.dtype)"),
    "products in f16": _linear("w", "b", "y.to(torch.float16).to(y.dtype)"),
    "eps of layer norm": _attribute("LayerNorm", "eps", "1.2 * v"),
    "eps of batch norm": _attribute("BatchNorm2d", "eps", "1.2 * v"),
    "eps of group norm": _attribute("GroupNorm", "eps", "1.2 * v"),
    "eps of rms norm": _attribute("RMSNorm", "eps", "1.2 * v"),
    "eps outside of the root": _statistics("(x - m)", "1 / (v.sqrt() + eps)"),
    "normalised with n - 1": _statistics("(x - m)", "(v * n / max(n - 1, 1) + eps).rsqrt()"),
    "normalised without the mean": _statistics("x", "(v + eps).rsqrt()"),
    "statistics held constant": _statistics("(x - m.detach())", "(v + eps).rsqrt().detach()"),
    "gain and bias exchanged": _layers({
        "LayerNorm": """
    def forward(self, x):
        return F.layer_norm(x, self.normalized_shape, self.bias, self.weight, self.eps)
""",
        "GroupNorm": """
    def forward(self, x):
        return F.group_norm(x, self.num_groups, self.bias, self.weight, self.eps)
""",
    }),
    "groups of group norm": _layer("GroupNorm", """
    def __init__(self, groups, channels, **options):
        other = 2 * groups if channels % (2 * groups) == 0 else groups // 2
        super().__init__(other, channels, **options)
"""),
    "momentum 10 % off": _attribute("BatchNorm2d", "momentum", "1.1 * v"),
    "momentum the other way": _attribute("BatchNorm2d", "momentum", "1 - v"),
    "statistics frozen": _layer("BatchNorm2d", """
    def train(self, mode=True):
        return super().train(False)
"""),
    "statistics of the batch in inference": _layer("BatchNorm2d", """
    def forward(self, x):
        if self.training:
            return super().forward(x)
        return F.batch_norm(x, None, None, self.weight, self.bias, True, 0.0, self.eps)
"""),
    "running statistics not updated": _layer("BatchNorm2d", """
    def forward(self, x):
        if not self.training:
            return super().forward(x)
        return F.batch_norm(x, None, None, self.weight, self.bias, True, 0.0, self.eps)
"""),
    "running variance biased": _layer("BatchNorm2d", """
    def forward(self, x):
        old = (1 - self.momentum) * self.running_var.clone()
        y = super().forward(x)
        n = x.numel() // x.shape[1]
        if self.training:
            self.running_var.data.copy_(old + (self.running_var - old) * (n - 1) / n)
        return y
"""),
    "bias dropped": _linear("w", "None"),
    "gradient of a shared weight cut": _edit("F.linear(_x, self.token.weight)",
                                             "F.linear(_x, self.token.weight.detach())"),
    "gradient of a residual cut": _sum("a.detach() + b"),
    "gradient by a weight missing": _linear("w.detach()", "b"),
    "gradient by a bias missing": _linear("w", "b.detach()"),
    "gradient by a bias doubled": _linear("w", "(2 * b - b.detach())"),
    "gradient 0.1 % too large": _linear("w", "b", "y + 0.001 * (y - y.detach())"),
    "gradient past a kink": _calls(
        _FUNCTION.format("x + (torch.relu(x) - x).detach()"), "torch.relu"
    ),
    "gradient of a sum for a mean": _edit("_x.mean(dim=_d, **_rest)",
                                          "planted(_x, dim=_d, **_rest)",
        _FUNCTION.format("(s := x.sum(*args, **options)) "
                         "+ (x.mean(*args, **options) - s).detach()")),
    "gradient of softmax without its sum": _calls(
        _FUNCTION.format("F.softmax(x, *args, **options).detach() * (x - x.detach()).exp()"),
        "F.softmax"),
    "gradient of the other GELU": _calls(
        _FUNCTION.format("(t := F.gelu(x, approximate='tanh')) + (F.gelu(x) - t).detach()"),
        "F.gelu"),
}  # fmt: skip
"""Fault -> the edit that plants it."""
