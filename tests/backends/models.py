"""Models that a source backend must be able to write, each with something the others have not."""

from __future__ import annotations

MODELS: dict[str, str] = {
    "unet": """
block Double(width):
    in  x: f32[B, C, H, W]
    out y: f32[B, width, H, W]
    y = x -> conv(width, 3, pad = 1) -> group_norm(2) -> silu -> conv(width, 3, pad = 1) -> silu

model UNet(widths = [4, 6], classes = 3):
    in  image: f32[B, 3, H, W]
    out mask: f32[B, classes, H, W]
    require H % 4 == 0 and W % 4 == 0, "the sides are multiples of 4"
    h = image
    skips = []
    for width in widths:
        h = h -> Double(width)
        skips += [h]
        h = h -> max_pool(2)
    h = h -> Double(8)
    for i in range(len(widths)):
        h = h -> conv_transpose(widths[-1 - i], 2, stride = 2)
        h = concat(skips[-1 - i], h, axis = 1) -> Double(widths[-1 - i])
    mask = h -> conv(classes, 1)
""",
    "encoder": """
block Heads(heads, drop = 0.1):
    in  x: f32[B, T, D]
    in? keep: bool[B, T] = true
    out y: like x
    require D % heads == 0, "width {D} does not divide into {heads} heads"
    y = x + (x -> layer_norm -> attention(heads, keep = keep) -> dropout(drop))

model Encoder(vocab = 19, D = 8, layers = 2):
    in  ids: i32[B, T <= 32]
    in? keep: bool[B, T] = true
    out h: f32[B, T, D]
    out pooled: f32[B, D]
    param position: f32[32, D] = normal(0.02)
    h = (ids -> embedding(vocab, D)) + position[:T]
    repeat layers:
        h = h -> Heads(2, keep = keep)
    pooled = h[:, 0] -> linear(D) -> tanh
""",
    "recurrent": """
model Recurrent(hidden = 5, layers = 2):
    in  x: f32[B, T, 6]
    in  lengths: i32[B]
    out y: f32[B, T, hidden]
    out z: f32[B, 2 * hidden]
    h, states, _ = x -> lstm(hidden, layers, bidirectional = true, lengths = lengths)
    h, _, _ = h -> lstm(hidden)
    h, _ = h -> gru(hidden, bidirectional = true)
    h, last = h -> rnn(hidden, activation = "relu", h0 = states[:1])
    y, _ = h -> rnn(hidden, bias = false)
    z = concat(states[-1], last[0], axis = 1)
""",
    "branches": """
model Branches(width = 6, deep = true):
    in  x: f32[B, C = 4, L]
    out a: f32[B, width]
    out b: f32[B]
    skip = x if width == 4 else x -> conv(width, 1) -> relu -> batch_norm
    main = x -> conv(width, 3, pad = 1, groups = 2) -> instance_norm -> prelu(per_channel = true)
    h = main + skip
    if deep:
        h = h -> conv(width, 3, pad = 2, dilation = 2) -> gelu
    a = h -> max(L)
    b = h -> avg_pool(2, pad = 1, ceil = true) -> flatten(start = 1, end = 2) -> mean(axes = [1])
""",
    "state": """
block Count:
    in  x: f32[B, 4]
    out y: f32[B, 4]
    state calls: f32[4] = zeros
    param scale: f32[4] = ones
    calls := calls + 1.0
    y = x * scale + calls

model Twice:
    in  x: f32[B, 4]
    out y: f32[B, 4]
    count = Count()
    y = x -> count -> linear(4) -> count
""",
    "tied": """
model Tied(vocab = 23, D = 6):
    in  ids: i32[B, T]
    out logits: f32[B, T, vocab]
    out first: f32[B, D]
    token = embedding(vocab, D)
    mix = linear(D)
    h = token(ids) -> mix -> gelu
    q, k = h -> linear(2 * D) -> split(2, axis = -1)
    logits = (q * k + h) @ transpose(token.weight)
    first = h[:, 0] -> mix
""",
    "cross": """
model Cross(heads = 2):
    in  x: f32[B, T, D = 8]
    in  memory: f32[B, S, M = 6]
    in  seen: bool[B, S]
    out y: f32[B, T, D]
    h = x + (x -> rms_norm -> attention(heads, context = memory, keep = seen))
    h = h + (h -> layer_norm -> attention(heads, causal = true, bias = false))
    y = h -> linear(D) -> softmax
""",
    "stages": """
block Branch(width, deep = true):
    in  x: f32[B, C, H, W]
    out y: f32[B, width, H, W]
    side = x if C == width else x -> conv(width, 1) -> prelu(per_channel = true) -> batch_norm
    y = side + (x -> conv(width, 3, pad = 1))

model Stages(width = 4):
    in  x: f32[B, 3, H, W]
    out y: f32[B, H, W]
    h = x -> Branch(width) -> Branch(width)
    tail = h if width == 1 else h
             -> transpose(axes = [0, 2, 3, 1]) -> linear(6) -> rms_norm -> linear(2)
    y = tail -> max(axes = [3])
""",
    "volume": """
model Volume:
    in  x: f32[B, 2, D, H, W]
    out y: f32[B, 5]
    h = x -> conv(4, 3, stride = (1, 2, 2), pad = (1, 0, 1), bias = false) -> batch_norm -> relu6
    h = h -> avg_pool(2, count_pad = true, pad = 1) -> leaky_relu(0.2)
    y = h -> mean(D, H, W) -> linear(5) -> log_softmax
""",
    "maths": """
model Maths(p = 2.0):
    in  x: f32[B, N]
    in  n: i32[B, N]
    out y: f32[B, N]
    out k: i32[B]
    a = x / (1.0 + abs(x)) + exp(-x * x) - 0.5 * sin(x) ** p
    b = where(n % 3 == 1, a, sqrt(abs(a) + 1.0))
    c = maximum(minimum(b, 0.7), -0.7) * cast(n // 2, f32)
    y = (c - mean(c, axes = [1], keep = true)) * rsqrt(var(c, axes = [1], keep = true) + 1e-3)
    k = argmax(y, axis = 1)
""",
    "nested": """
block Unit(width, times = 1):
    in  x: f32[B, C]
    out y: f32[B, width]
    h = x -> linear(width)
    repeat times:
        h = h + (h -> layer_norm -> linear(width) -> silu)
    y = h

model Nested(table = [(4, 2), (6, 1)], classes = 3):
    in  x: f32[B, 5]
    out y: f32[B, classes]
    h = x
    for width, times in table:
        h = h -> Unit(width, times = times) -> dropout(0.2)
        h = h * sigmoid(h -> linear(width))
    y = h -> linear(classes)
""",
    "loops": """
model Loops(n = 3, widths = [4, 6]):
    in  x: f32[B, 2]
    out y: f32[B, 1]
    hs = []
    h = x
    for w in widths:
        repeat n:
            h = h -> linear(w) -> tanh
        hs += [h -> linear(1)]
    y = hs[0] + hs[-1]
""",
    "rotary": """
block Rotary:
    in  x: f32[B, N, T, D]
    out y: like x
    require D % 2 == 0, "even"
    place = cast(iota(T), f32)
    rate = exp(cast(iota(D / 2), f32) * (-9.21 / (D / 2)))
    angle = reshape(place, [T, 1]) * rate
    a, b = x -> split(2, axis = -1)
    y = concat(a * cos(angle) - b * sin(angle), b * cos(angle) + a * sin(angle), axis = -1)

block Heads(heads):
    in  x: f32[B, T, D]
    out y: like x
    require D % heads == 0, "heads"
    split = [B, T, heads, D / heads]
    q = transpose(reshape(x -> linear(D, bias = false), split), axes = [0, 2, 1, 3]) -> Rotary
    k = transpose(reshape(x -> linear(D, bias = false), split), axes = [0, 2, 1, 3]) -> Rotary
    v = transpose(reshape(x -> linear(D, bias = false), split), axes = [0, 2, 1, 3])
    h = transpose((q, k, v) -> sdpa(causal = true), axes = [0, 2, 1, 3])
    y = reshape(h, [B, T, D]) -> linear(D, bias = false)

model Llama(vocab = 17, D = 8, layers = 2):
    in  ids: i32[B, T]
    out logits: f32[B, T, vocab]
    h = ids -> embedding(vocab, D)
    repeat layers:
        h = h + (h -> rms_norm -> Heads(2))
        a, b = h -> rms_norm -> linear(4 * D, bias = false) -> split(2, axis = -1)
        h = h + ((silu(a) * b) -> linear(D, bias = false))
    logits = h -> rms_norm -> linear(vocab, bias = false)
""",
    "siamese": """
block Tower(width):
    in  x: f32[B, C, L]
    out y: f32[B, width]
    y = x -> conv(width, 3) -> batch_norm -> relu -> mean(L)

model Siamese(width = 5):
    in  a: f32[B, 3, L]
    in  b: f32[B, 3, L]
    out d: f32[B]
    tower = Tower(width)
    d = mean(abs(tower(a) - tower(b)), axes = [1])
""",
    "upsampling": """
block Up(width):
    in  x: f32[B, C, H, W]
    out y: f32[B, width, 2 * H, 2 * W]
    y = x -> resize(scale = 2) -> conv(width, 3, pad = 1) -> relu -> channel_dropout(0.1)

model Upsampling(width = 4, drop = 0.2):
    in  x: f32[B, 3, H, W]
    out y: f32[B, 2, 4 * H, 4 * W]
    out z: f32[B, width, 2, 3]
    h = x -> Up(width)
    h = h + (h -> conv(width, 3, pad = 1) -> drop_path(drop))
    y = h -> conv(8, 3, pad = 1) -> pixel_shuffle(2)
    z = h -> resize(size = [5, 7], mode = "linear") -> lp_pool(2.0, kernel = 2) -> l2_normalize([1])
""",
    "positions": """
model Positions(heads = 4, groups = 2, drop = 0):
    in  ids: i32[B, T]
    in  x: f32[B, T, 12]
    out y: f32[B, T, 12]
    out z: f32[B, 5]
    h = x + (ids -> embedding(9, 12, padding = drop))
    q = h -> linear(6 * heads) -> reshape([B, T, heads, 6]) -> transpose([0, 2, 1, 3]) -> rotary
    k = h -> linear(6 * groups) -> reshape([B, T, groups, 6]) -> transpose([0, 2, 1, 3]) -> rotary
    v = h -> linear(6 * groups) -> reshape([B, T, groups, 6]) -> transpose([0, 2, 1, 3])
    bias = relative_buckets(T, T, 8, 6) -> embedding(8, heads) -> transpose([2, 0, 1])
    a = sdpa(q, k, v, bias = bias, grouped = true) -> transpose([0, 2, 1, 3])
    y = reshape(a, [B, T, 6 * heads]) -> linear(12)
    z = ids -> embedding_bag(9, 5)
""",
    "either_size": """
model EitherSize(big = true, width = 4):
    in  x: f32[B, 3, H, W]
    out y: f32[B, n, width]
    out z: f32[B, 8]
    n = H // 2 if big else 7
    stride = 2 if big else 1
    h = x -> conv(8, 5 if big else 3, stride = stride, pad = 1) -> max_pool(2, ceil = true)
    g = h -> flatten(start = 2) -> transpose -> linear(width) -> mean(axes = [1], keep = true)
    y = expand(g, [B, n, width])
    rows = h -> flatten(start = 1, end = 2) -> mean(axes = [2])
    z = rows -> reshape(B, 8, -1) -> mean(axes = [2])
""",
}
"""By name: .mdl text with one model."""
