"""MobileNetV3 (Howard et al. 2019); these stages, of kernel, hidden width, width, whether channels
are weighed, whether it swishes, and stride, make the small one.

Verified with jax 0.10.2 and flax 0.12.8.
"""

from functools import partial
from pathlib import Path

import jax
from flax import nnx
from safetensors.flax import load_file

fan_uniform = nnx.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
conv = partial(nnx.Conv, kernel_init=fan_uniform)
conv2 = partial(nnx.Conv, use_bias=False, kernel_init=fan_uniform)
batch_norm = partial(nnx.BatchNorm, momentum=0.99, epsilon=0.001, use_fast_variance=False)
linear = partial(nnx.Linear, kernel_init=fan_uniform)


def uniform(fan: int) -> nnx.Initializer:
    """Draws from -b to b, where b = 1 / sqrt(fan)."""
    return partial(jax.random.uniform, minval=-(fan**-0.5), maxval=fan**-0.5)


class Activation(nnx.Module):
    """A rectifier, or for the deeper half its smooth relative: (B, H, W, C) -> (B, H, W, C)."""

    def __init__(self, swish: bool) -> None:
        self.swish = swish

    def __call__(self, x: jax.Array) -> jax.Array:
        return nnx.hard_swish(x) if self.swish else nnx.relu(x)


class SqueezeExcite(nnx.Module):
    """Channels weighed by what the whole image shows of them (Hu et al. 2017).

    (B, H, W, C) -> (B, H, W, C).
    """

    def __init__(self, C: int, reduced: int, *, rngs: nnx.Rngs) -> None:
        self.conv1 = conv(C, reduced, (1, 1), padding=0, bias_init=uniform(C), rngs=rngs)
        self.conv2 = conv(reduced, C, (1, 1), padding=0, bias_init=uniform(reduced), rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        scale = x.mean((1, 2), keepdims=True)
        scale = nnx.hard_sigmoid(self.conv2(nnx.relu(self.conv1(scale))))
        return x * scale


class Inverted(nnx.Module):
    """Widens, filters each channel by itself, weighs the channels, and narrows again.

    (B, H, W, C) -> (B, ceil(H / stride), ceil(W / stride), width).
    """

    def __init__(
        self,
        C: int,
        kernel: int,
        hidden: int,
        width: int,
        squeeze: bool,
        swish: bool,
        stride: int,
        *,
        rngs: nnx.Rngs,
    ) -> None:
        self.hidden = hidden
        self.width = width
        self.stride = stride
        if hidden != C:
            self.conv1 = conv2(C, hidden, (1, 1), padding=0, rngs=rngs)
            self.batch_norm1 = batch_norm(hidden, rngs=rngs)
            self.activation1 = Activation(swish)
        self.conv2 = conv2(
            hidden,
            hidden,
            (kernel, kernel),
            stride,
            padding=kernel // 2,
            feature_group_count=hidden,
            rngs=rngs,
        )
        self.batch_norm2 = batch_norm(hidden, rngs=rngs)
        self.activation2 = Activation(swish)
        if squeeze:
            self.squeeze_excite = SqueezeExcite(hidden, 8 * -(-hidden // 32), rngs=rngs)
        else:
            self.squeeze_excite = None
        self.conv3 = conv2(hidden, width, (1, 1), padding=0, rngs=rngs)
        self.batch_norm3 = batch_norm(width, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        if self.hidden != x.shape[3]:
            h = self.activation1(self.batch_norm1(self.conv1(x)))
        else:
            h = x
        h = self.activation2(self.batch_norm2(self.conv2(h)))
        h = self.squeeze_excite(h) if self.squeeze_excite else h
        h = self.batch_norm3(self.conv3(h))
        return x + h if self.stride == 1 and x.shape[3] == self.width else h


class MobileNet(nnx.Module):
    """Image (B, H, W, 3) -> logits (B, classes)."""

    def __init__(
        self,
        stages: tuple[tuple[int, int, int, bool, bool, int], ...] = (
            (3, 16, 16, True, False, 2),
            (3, 72, 24, False, False, 2),
            (3, 88, 24, False, False, 1),
            (5, 96, 40, True, True, 2),
            (5, 240, 40, True, True, 1),
            (5, 240, 40, True, True, 1),
            (5, 120, 48, True, True, 1),
            (5, 144, 48, True, True, 1),
            (5, 288, 96, True, True, 2),
            (5, 576, 96, True, True, 1),
            (5, 576, 96, True, True, 1),
        ),
        stem: int = 16,
        head: int = 576,
        hidden: int = 1024,
        classes: int = 1000,
        drop: float = 0.2,
        *,
        rngs: nnx.Rngs,
    ) -> None:
        self.conv1 = conv2(3, stem, (3, 3), 2, padding=1, rngs=rngs)
        self.batch_norm1 = batch_norm(stem, rngs=rngs)
        self.blocks = nnx.List()
        C = stem
        for kernel, wide, width, squeeze, swish, stride in stages:
            self.blocks.append(Inverted(C, kernel, wide, width, squeeze, swish, stride, rngs=rngs))
            C = width
        self.conv2 = conv2(C, head, (1, 1), padding=0, rngs=rngs)
        self.batch_norm2 = batch_norm(head, rngs=rngs)
        self.linear1 = linear(head, hidden, bias_init=uniform(head), rngs=rngs)
        self.dropout = nnx.Dropout(drop, rngs=rngs)
        self.linear2 = linear(hidden, classes, bias_init=uniform(hidden), rngs=rngs)

    def __call__(self, image: jax.Array) -> jax.Array:
        h = nnx.hard_swish(self.batch_norm1(self.conv1(image)))
        for block in self.blocks:
            h = block(h)
        h = nnx.hard_swish(self.batch_norm2(self.conv2(h)))
        return self.linear2(self.dropout(nnx.hard_swish(self.linear1(h.mean((1, 2))))))


def build(
    weights: str | Path | None = None,
    *,
    seed: int = 0,
    **config: float | int | tuple[tuple[int, int, int, bool, bool, int], ...],
) -> MobileNet:
    """Return the model in training mode, with the weights of a safetensors file if one is given."""
    if weights is None:
        return MobileNet(**config, rngs=nnx.Rngs(seed))
    model = nnx.eval_shape(lambda: MobileNet(**config, rngs=nnx.Rngs(seed)))
    tensors = load_file(weights)
    state = nnx.state(model, (nnx.Param, nnx.BatchStat))
    wanted = {".".join(map(str, path)): v.shape for path, v in nnx.to_flat_state(state)}
    if wrong := wanted.items() ^ {key: x.shape for key, x in tensors.items()}.items():
        raise ValueError(f"{weights} does not fit the model: {sorted(wrong)}")
    nnx.update(
        model, nnx.map_state(lambda path, v: v.replace(tensors[".".join(map(str, path))]), state)
    )
    nnx.reseed(model, default=seed)
    return model
