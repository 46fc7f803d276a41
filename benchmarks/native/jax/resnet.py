"""ResNet-50 in Flax NNX, written by hand."""

import jax
from flax import nnx


def conv(ins: int, outs: int, kernel: int, stride: int = 1, *, rngs: nnx.Rngs) -> nnx.Conv:
    pad = kernel // 2
    return nnx.Conv(
        ins,
        outs,
        (kernel, kernel),
        stride,
        padding=((pad, pad), (pad, pad)),
        use_bias=False,
        rngs=rngs,
    )


def batch_norm(features: int, *, rngs: nnx.Rngs) -> nnx.BatchNorm:
    return nnx.BatchNorm(features, momentum=0.9, use_fast_variance=False, rngs=rngs)


class Bottleneck(nnx.Module):
    def __init__(self, ins: int, width: int, stride: int, project: bool, *, rngs: nnx.Rngs) -> None:
        self.conv1 = conv(ins, width, 1, rngs=rngs)
        self.batch_norm1 = batch_norm(width, rngs=rngs)
        self.conv2 = conv(width, width, 3, stride, rngs=rngs)
        self.batch_norm2 = batch_norm(width, rngs=rngs)
        self.conv3 = conv(width, 4 * width, 1, rngs=rngs)
        self.batch_norm3 = batch_norm(4 * width, rngs=rngs)
        self.project = project
        if project:
            self.skip_conv = conv(ins, 4 * width, 1, stride, rngs=rngs)
            self.skip_norm = batch_norm(4 * width, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        y = nnx.relu(self.batch_norm1(self.conv1(x)))
        y = nnx.relu(self.batch_norm2(self.conv2(y)))
        y = self.batch_norm3(self.conv3(y))
        if self.project:
            x = self.skip_norm(self.skip_conv(x))
        return nnx.relu(y + x)


class ResNet(nnx.Module):
    def __init__(self, classes: int, *, rngs: nnx.Rngs) -> None:
        self.conv = conv(3, 64, 7, 2, rngs=rngs)
        self.batch_norm = batch_norm(64, rngs=rngs)
        self.blocks = nnx.List()
        ins = 64
        for width, count, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
            for i in range(count):
                block = Bottleneck(ins, width, stride if i == 0 else 1, i == 0, rngs=rngs)
                self.blocks.append(block)
                ins = 4 * width
        self.linear = nnx.Linear(ins, classes, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nnx.relu(self.batch_norm(self.conv(x)))
        x = nnx.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
        for block in self.blocks:
            x = block(x)
        return self.linear(x.mean(axis=(1, 2)))


def build(classes: int = 1000) -> ResNet:
    return ResNet(classes, rngs=nnx.Rngs(0))
