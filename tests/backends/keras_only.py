"""Models that Keras writes in its own way."""

from __future__ import annotations

MORE: dict[str, str] = {
    "table": """
model Table(width = 3):
    in  x: f32[B, 4, D = 5]
    out y: f32[B, 4, D]
    param table: f32[2 * width, D] = normal(0.5)
    place = iota(4) + width - 1
    y = x * gather(table, place, axis = 0)
""",
    "generator": """
block Up(width):
    in  x: f32[B, C, H, W]
    out y: f32[B, width, 2 * H, 2 * W]
    y = x -> conv_transpose(width, 4, stride = 2, pad = 1) -> batch_norm -> silu

model Generator(z = 6):
    in  noise: f32[B, z]
    out image: f32[B, 3, 16, 16]
    h = noise -> linear(8 * 4 * 4) -> tanh -> reshape(B, 8, 4, 4)
    for width in [8, 4]:
        h = h -> Up(width)
    image = h -> conv(3, 3, pad = 1) -> tanh
""",
    "patches": """
block Layer(heads):
    in  x: f32[B, T, D]
    out y: like x
    h = x + (x -> layer_norm -> attention(heads))
    y = h + (h -> layer_norm -> linear(4 * D) -> gelu -> linear(D))

model Patches(patch = 4, D = 12, layers = 2, heads = 3, classes = 5):
    in  image: f32[B, 3, H = 16, W = 16]
    out logits: f32[B, classes]
    param cls: f32[1, 1, D] = normal(0.02)
    param position: f32[1, 17, D] = normal(0.02)
    h = image -> conv(D, patch, stride = patch) -> flatten(start = 2) -> transpose(axes = [0, 2, 1])
    h = concat(expand(cls, [B, 1, D]), h, axis = 1) + position
    repeat layers:
        h = h -> Layer(heads)
    logits = (h -> layer_norm)[:, 0] -> linear(classes)
""",
    "scaled": """
block Scaled:
    in  x: f32[B, C, H, W]
    out y: like x
    param gamma: f32[C, 1, 1] = ones
    h = x -> conv(C, 7, pad = 3, groups = C) -> transpose(axes = [0, 2, 3, 1]) -> layer_norm
          -> linear(4 * C) -> gelu -> linear(C) -> transpose(axes = [0, 3, 1, 2])
    y = x + h * gamma

model Net(classes = 4):
    in  image: f32[B, 3, H, W]
    out logits: f32[B, classes]
    h = image -> conv(8, 4, stride = 4)
    repeat 2:
        h = h -> Scaled
    logits = h -> mean(H, W) -> linear(classes)
""",
    "depthwise": """
model Depthwise(classes = 4):
    in  image: f32[B, 3, H, W]
    out logits: f32[B, classes]
    h = image -> conv(8, 3, stride = 2, pad = 1)
    for stride in [1, 2]:
        h = h -> conv(8, 3, stride = stride, pad = 1, groups = 8) -> silu -> conv(8, 1)
              -> batch_norm
    logits = h -> conv(16, 3, groups = 8, pad = 1) -> mean(H, W) -> linear(classes)
""",
    "windows": """
block Window(size):
    in  x: f32[B, H, W, C]
    out y: like x
    require H % size == 0 and W % size == 0, "the sides are multiples of {size}"
    param table: f32[9, 1, 1] = normal(0.02)
    h = x -> reshape(B, H / size, size, W / size, size, C) -> transpose(axes = [0, 1, 3, 2, 4, 5])
          -> reshape(B * (H / size) * (W / size), size * size, C)
    q, k, v = h -> linear(3 * C) -> split(3, axis = -1)
    h = softmax(q @ transpose(k) * 0.3 + sum(table)) @ v
    y = h -> reshape(B, H / size, W / size, size, size, C) -> transpose(axes = [0, 1, 3, 2, 4, 5])
          -> reshape(B, H, W, C)

model Windows:
    in  x: f32[B, H, W, C = 6]
    out y: f32[B, H, W, C]
    h = x -> Window(2)
    y = h -> Window(2)
""",
    "repeated": """
block Layer:
    in  x: f32[B, T, D]
    out y: like x
    y = x + (x -> layer_norm -> linear(D) -> gelu)

model Repeated(layers = 3):
    in  x: f32[B, T, D = 5]
    out y: f32[B, T, D]
    shared = Layer()
    norm = layer_norm()
    h = x
    repeat layers:
        h = h -> shared -> norm
    y = h
""",
    "average": """
model Average:
    in  x: f32[B, 4]
    out y: f32[B, 4]
    state centre: f32[4] = zeros
    state calls: i32[1] = zeros
    h = x -> linear(4)
    centre := 0.9 * centre + 0.1 * mean(h, axes = [0])
    calls := calls + 1
    y = (h - centre) -> linear(4)
""",
    "places": """
model Places(D = 6):
    in  ids: i32[B, T <= 16]
    out y: f32[B, T, D]
    token = embedding(11, D)
    place = embedding(16, D)
    y = (token(ids) + place(iota(T))) -> linear(D)
""",
    "masked": """
model Masked:
    in  x: f32[B, T, 4]
    in? keep: bool[B, T] = true
    in? scale: f32[B] = 2.0
    out y: f32[B, T, 4]
    h = x -> linear(4)
    y = where(unsqueeze(keep, axes = [2]), h, 0.0) * unsqueeze(scale, axes = [1, 2])
""",
    "picture": """
model Picture(classes = 3):
    in  image: f32[B, 3, H, W]
    in  scale: f32[B, 3, 1, 1]
    out mask: f32[B, classes, H, W]
    out rows: f32[B, H, W]
    param bias: f32[classes, 1, 1] = normal(0.1)
    h = image * scale -> conv(classes, 3, pad = 1)
    mask = h + bias -> softmax(axis = 1)
    rows = mask -> max(axes = [1])
""",
    "read_outside": """
block Step(width):
    in  x: f32[B, C, L]
    out y: f32[B, C, L]
    enc = conv(width, 1)
    h = x -> enc -> relu
    k = transpose(enc.weight, axes = [1, 0, 2])
    y = conv(h, weight = k, features = C, kernel = 1, bias = false)

model ReadOutside(D = 3, width = 6):
    in  x: f32[B, 4, L]
    in  ids: i32[B, T]
    out y: f32[B, 4, L]
    out z: f32[B, T, 11]
    out w: f32[11, D]
    out n: f32[]
    token = embedding(11, D)
    h = x
    repeat 2:
        h = h -> Step(width)
    y = h
    a = linear(D)
    b = reshape(sum(x, axes = [2]), [B, 1, 4]) -> linear(D)
    z = (b -> a -> a) @ transpose(token.weight) + token(ids)[:, :, :1]
    w = token.weight @ a.weight
    n = sum(a.bias * a.bias)
""",
    "same_names": """
block Log(width):
    in  x: f32[B, D]
    out y: f32[B, width]
    param max: f32[width] = normal(1)
    y = (x -> linear(width) as softmax -> dropout(0.1)) * max

model Same(layers = 3):
    in  mean: f32[B, 4]
    in  image: f32[B, 4]
    out y: f32[B, 4]
    out z: f32[]
    param exp: f32[4] = ones
    h = image -> linear(5) as image -> linear(4) as mean_
    log = Log(4)
    h = log_softmax(log(h) + log(h)) * exp(exp)
    repeat layers as tanh:
        h = h -> linear(4) -> tanh
    y = h - mean
    z = mean(h) + max(mean(y, axes = [1]))
""",
    "one_twice": """
block Past(heads):
    in  x: f32[B, T, D]
    in  memory: f32[B, S, D]
    out y: like x
    q = x -> linear(D) -> rearrange("b t (h k) -> b h t k", h = heads)
    k = memory -> linear(D) -> rearrange("b s (h k) -> b h s k", h = heads)
    keep = iota(S) <= unsqueeze(iota(T), axes = [1])
    y = sdpa(q, k, k, mask = keep[none, none]) -> rearrange("b h t k -> b t (h k)") -> linear(D)

model Twice(D = 6, heads = 2):
    in  x: f32[B, T, D]
    out y: f32[B, T, D]
    h = x -> layer_norm
    y = x + ((h, h) -> Past(heads))
""",
    "split": """
block Split(heads):
    in  x: f32[B, T, D]
    out y: like x
    param scale: f32[ceil(D / 2)] = normal(1)
    h = reshape(x, [B, T, heads, -1]) / sqrt(D / heads)
    h = reshape(h, [B, T, -1]) -> linear(ceil(D / 2))
    h = h * scale * ceil(D / 3) + sqrt(D)
    y = h -> linear(D)

model Sides(D = 8, heads = 4, layers = 2):
    in  x: f32[B, T, D]
    out y: f32[B, T, D]
    h = x
    repeat layers:
        h = h -> linear(16) -> linear(D) -> Split(max(heads / 2, 1))
    y = h / (sqrt(heads) + ceil(D / 3))
""",
    "grouped_up": """
block Up(width, groups):
    in  x: f32[B, C, H, W]
    out y: f32[B, width, 2 * H, 2 * W]
    y = x -> conv_transpose(width, 4, stride = 2, pad = 1, groups = groups) -> relu

model GroupedUp(groups = 2):
    in  x: f32[B, 4, H, W]
    out y: f32[B, 6, 4 * H - 4, 12 * W - 2]
    h = x
    for width in [8, 12]:
        h = h -> Up(width, groups)
    y = h -> conv_transpose(6, (3, 2), dilation = (2, 1), stride = (1, 3), pad = ((5, 3), (2, 1)),
                            output_pad = (0, 2))
""",
}  # fmt: skip
"""Texts by name."""
