"""EfficientNet (Tan and Le 2019); these stages, of width, count, kernel, stride and ratio, make
B0.

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


def uniform(fan: int) -> nnx.Initializer:
    """Draws from -b to b, where b = 1 / sqrt(fan)."""
    return partial(jax.random.uniform, minval=-(fan**-0.5), maxval=fan**-0.5)


class SqueezeExcite(nnx.Module):
    """Channels weighed by what the whole image shows of them (Hu et al. 2017).

    (B, H, W, C) -> (B, H, W, C).
    """

    def __init__(self, C: int, reduced: int, *, rngs: nnx.Rngs) -> None:
        self.conv1 = conv(C, reduced, (1, 1), padding=0, bias_init=uniform(C), rngs=rngs)
        self.conv2 = conv(reduced, C, (1, 1), padding=0, bias_init=uniform(reduced), rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        scale = nnx.sigmoid(self.conv2(nnx.silu(self.conv1(x.mean((1, 2), keepdims=True)))))
        return x * scale


class MBConv(nnx.Module):
    """The inverted residual of MobileNetV2 with squeeze and excitation.

    (B, H, W, C) -> (B, ceil(H / stride), ceil(W / stride), width).
    """

    def __init__(
        self,
        C: int,
        width: int,
        kernel: int,
        stride: int,
        ratio: int,
        drop: float,
        *,
        rngs: nnx.Rngs,
    ) -> None:
        self.width = width
        self.stride = stride
        self.ratio = ratio
        if ratio > 1:
            self.conv1 = conv2(C, ratio * C, (1, 1), padding=0, rngs=rngs)
            self.batch_norm1 = batch_norm(ratio * C, rngs=rngs)
        self.conv2 = conv2(
            ratio * C,
            ratio * C,
            (kernel, kernel),
            stride,
            padding=kernel // 2,
            feature_group_count=ratio * C,
            rngs=rngs,
        )
        self.batch_norm2 = batch_norm(ratio * C, rngs=rngs)
        self.squeeze_excite = SqueezeExcite(ratio * C, C // 4, rngs=rngs)
        self.conv3 = conv2(ratio * C, width, (1, 1), padding=0, rngs=rngs)
        self.batch_norm3 = batch_norm(width, rngs=rngs)
        if stride == 1 and C == width:
            self.drop_path = nnx.Dropout(drop, broadcast_dims=(1, 2, 3), rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        h = nnx.silu(self.batch_norm1(self.conv1(x))) if self.ratio > 1 else x
        h = self.conv2(h)
        h = self.batch_norm3(self.conv3(self.squeeze_excite(nnx.silu(self.batch_norm2(h)))))
        return x + self.drop_path(h) if self.stride == 1 and x.shape[3] == self.width else h


class EfficientNet(nnx.Module):
    """Image (B, H, W, 3) -> logits (B, classes)."""

    def __init__(
        self,
        stages: tuple[tuple[int, ...], ...] = (
            (16, 1, 3, 1, 1),
            (24, 2, 3, 2, 6),
            (40, 2, 5, 2, 6),
            (80, 3, 3, 2, 6),
            (112, 3, 5, 1, 6),
            (192, 4, 5, 2, 6),
            (320, 1, 3, 1, 6),
        ),
        head: int = 1280,
        classes: int = 1000,
        drop: float = 0.2,
        *,
        rngs: nnx.Rngs,
    ) -> None:
        self.conv1 = conv2(3, 32, (3, 3), 2, padding=1, rngs=rngs)
        self.batch_norm1 = batch_norm(32, rngs=rngs)
        self.blocks = nnx.List()
        C = 32
        for width, count, kernel, stride, ratio in stages:
            self.blocks.append(MBConv(C, width, kernel, stride, ratio, drop, rngs=rngs))
            for _ in range(count - 1):
                self.blocks.append(MBConv(width, width, kernel, 1, ratio, drop, rngs=rngs))
            C = width
        self.conv2 = conv2(C, head, (1, 1), padding=0, rngs=rngs)
        self.batch_norm2 = batch_norm(head, rngs=rngs)
        self.dropout = nnx.Dropout(drop, rngs=rngs)
        self.linear = nnx.Linear(
            head, classes, kernel_init=fan_uniform, bias_init=uniform(head), rngs=rngs
        )

    def __call__(self, image: jax.Array) -> jax.Array:
        h = nnx.silu(self.batch_norm1(self.conv1(image)))
        for block in self.blocks:
            h = block(h)
        h = nnx.silu(self.batch_norm2(self.conv2(h)))
        return self.linear(self.dropout(h.mean((1, 2))))


def build(
    weights: str | Path | None = None,
    *,
    seed: int = 0,
    **config: float | int | tuple[tuple[int, ...], ...],
) -> EfficientNet:
    """Return the model in training mode, with the weights of a safetensors file if one is given."""
    if weights is None:
        return EfficientNet(**config, rngs=nnx.Rngs(seed))
    model = nnx.eval_shape(lambda: EfficientNet(**config, rngs=nnx.Rngs(seed)))
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
