"""Models whose course depends on data or on the size of an input: scans, loops and choices."""

from __future__ import annotations

CONTROL: dict[str, str] = {
    "tagger": """
model Tagger(width = 6, tags = 5):
    in  x: f32[B, T, D = 4]
    in  keep: bool[B, T]
    out logits: f32[B, T, tags]
    out last: f32[B, width]
    h = constant(0.0) -> expand([B, width])
    hs = []
    scan x_t, keep_t in zip(x, keep) along T:
        new = tanh((x_t -> linear(width)) + (h -> linear(width, bias = false)))
        h = where(unsqueeze(keep_t, 1), new, h)
        hs += [h]
    logits = hs -> linear(tags)
    last = h
""",
    "folded": """
model Folded(width = 6):
    in  x: f32[B, T, D = 4]
    out y: f32[B, width]
    param held: f32[width, width] = normal(0.3)
    param read: f32[D, width] = normal(0.3)
    h = constant(0.1) -> expand([B, width])
    scan x_t in x along T:
        h = tanh(h @ held + x_t @ read)
    y = h
""",
    "both_ways": """
block Cell(width):
    in  x: f32[B, D]
    in  h: f32[B, width]
    out y: f32[B, width]
    param scale: f32[width] = ones
    update = sigmoid(concat(x, h, axis = 1) -> linear(width))
    both = concat(x, h * scale, axis = 1)
    repeat 2:
        both = both -> linear(D + width) -> tanh
    y = update * h + (1.0 - update) * (both -> linear(width))

model BothWays(width = 4):
    in  x: f32[B, T, D = 3]
    out y: f32[B, T, 2 * width]
    start = constant(0.5) -> expand([B, width])
    ahead = start
    behind = start
    firsts = []
    lasts = []
    scan x_t in x along T:
        ahead = Cell(width)(x_t, ahead)
        firsts += [ahead]
    scan x_t in x along T backwards:
        behind = Cell(width)(x_t, behind)
        lasts += [behind]
    y = concat(firsts, lasts, axis = 2)
""",
    "moments": """
model Moments:
    in  x: f32[T, B, D]
    out mean: f32[B]
    out swing: f32[B, D]
    out sizes: f32[T]
    out products: f32[T, B, B]
    count = 0.0
    total = mean(x[0], D) * 0.0
    before = x[0] * 0.0
    swing = before
    sizes = []
    products = []
    scan row in x along T:
        swing = swing + abs(row - before) + softplus(before)
        total, before = total + mean(row, 1), row
        count = count + 1.0
        sizes += [sum(swing * row)]
        grid = []
        scan one in row along 0:
            grid += [(row * one) -> sum(axes = [1])]
        products += [grid]
    mean = total / count
    swing = swing * 0.5
""",
    "frames": """
model Frames(channels = 3):
    in  video: f32[B, T, C = 2, H = 6, W = 5]
    out y: f32[B, T, channels]
    state = constant(0.0) -> expand([B, channels, H, W])
    ys = []
    scan frame in video along T:
        both = concat(frame, state, axis = 1)
        gate = both -> conv(channels, 3, pad = 1) -> sigmoid
        state = gate * state + (1.0 - gate) * (both -> conv(channels, 3, pad = 1) -> tanh)
        ys += [mean(state, 2, 3)]
    y = ys
""",
    "choices": """
model Choices(steps = 4):
    in  x: f32[B, D = 4]
    in  gain: f32[]
    out y: f32[B, D]
    out n: f32[]
    large = mean(x * x) > gain
    if large:
        h = x -> linear(D) -> tanh
        scale = 0.5
    else:
        h = x
        scale = 1.0
    h = h * scale
    count = 0.0
    while mean(abs(h)) > 0.1, at most steps:
        h = h * 0.6
        count = count + mean(h)
    y = h + (x if mean(h) > mean(x) else neg(x))
    n = count
""",
    "until": """
model Until(D = 4):
    in  x: f32[B, D]
    out y: f32[B, D]
    out n: i32[]
    y = x
    n = 0
    while sum(y * y) > 1.0:
        y = y * 0.6
        n = n + 1
""",
    "nested": """
block Mix(width):
    in  x: f32[B, D]
    out y: f32[B, width]
    h = x -> linear(width) -> tanh
    repeat 2:
        h = h -> linear(width) -> tanh
    skip = h if D == width else x -> linear(width) -> layer_norm
    y = h + skip

block Frame(width):
    in  x: f32[B, T, D]
    out y: f32[B, T, width]
    mix = Mix(width)
    h = constant(0.1) -> expand([B, width])
    ys = []
    scan x_t in x along T backwards:
        h = mix(concat(x_t, h, axis = 1))
        if mean(h) > 0.0:
            h = h -> linear(width) -> tanh
        else:
            h = 0.5 * h
        ys += [h]
    y = ys

model Nest(width = 5, layers = 2):
    in  x: f32[B, T, D = 3]
    out y: f32[B, T, width]
    out n: f32[B]
    h = x
    repeat layers:
        h = h -> Frame(width)
    y = h
    n = mean(h, 1, 2)
""",
    "members": """
block Step(width):
    in  x: f32[B, D]
    in  h: f32[B, width]
    in? gain: f32[] = 1.0
    out y: f32[B, width]
    out gate: f32[B, width]
    param scale: f32[width] = ones
    param start: f32[D, width] = normal(0.3)
    gate = sigmoid(concat(x, h, axis = 1) -> linear(width))
    y = gate * h * scale + (1.0 - gate) * tanh(x @ start) * gain

block Encoder(width):
    in  x: f32[B, T, D]
    out y: f32[B, T, width]
    h = constant(0.0) -> expand([B, width])
    ys = []
    scan x_t in x along T:
        h, gate = Step(width)(x_t, h)
        ys += [h * gate]
    y = ys

model Stacked(width = 4, layers = 2):
    in  x: f32[B, T, D = 3]
    out y: f32[B, T, width]
    out z: f32[B, width]
    h = x
    h = h -> Encoder(width)
    repeat layers:
        h = h + (h -> Encoder(width) -> linear(width))
    y = h
    s = constant(0.2) -> expand([B, width])
    cell = Step(width)
    scan y_t, x_t in zip(h, x) along T backwards:
        s, g = cell(x_t, s)
        s, g = cell(x_t, s + y_t * g)
    z = s
""",
    "alike": """
model Same(steps = 3):
    in  x: f32[B, D = 4]
    out y: f32[B, D]
    out z: f32[B, D]
    g = tanh(x)
    ts = [g, 0.5 * x]
    g = sigmoid(x)
    ts += [g]
    h = x
    while mean(h * h) > 0.02, at most steps:
        h = h * 0.5 + 0.1 * ts[0] - 0.2 * ts[1] * ts[2]
    y = h
    k = x * 0.0
    scan row in x along B:
        k = k + row * ts[0] + ts[2] * ts[1]
    z = k
""",
}
