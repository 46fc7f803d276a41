"""Models whose loops are hard to keep: sizes, numbers and lists run along, members are left out."""

from __future__ import annotations

LOOPS: dict[str, str] = {
    "shared_in_arms": """
block Unit(D, deep):
    in  x: f32[B, D]
    out y: like x
    first = linear(D)
    again = linear(D)
    h = x
    if deep > 0:
        h = first(h)
    h = h + again(first(h))
    if deep > 0:
        h = again(h)
    y = h
model SharedInArms(D = 4, turns = 3):
    in  x: f32[B, D]
    out y: f32[B, D]
    mix = linear(D)
    h = x -> Unit(D, 0) -> Unit(D, 1)
    for i in range(turns):
        h = h -> tanh
        if i % 2 == 0:
            h = mix(h)
    y = h
""",
    "stages": """
block Dense(growth):
    in  x: f32[B, C, H, W]
    out y: f32[B, C + growth, H, W]
    y = concat(x, x -> batch_norm -> relu -> conv(growth, 3, pad = 1), axis = 1)
block Halve:
    in  x: f32[B, C, H, W]
    out y: f32[B, C / 2, H // 2, W // 2]
    y = x -> conv(C / 2, 1) -> avg_pool(2)
model Stages(counts = [2, 1, 3], growth = 2, classes = 4):
    in  x: f32[B, 3, H, W]
    out y: f32[B, classes]
    h = x -> conv(2 * growth, 3, pad = 1)
    for i in range(len(counts)):
        repeat counts[i]:
            h = h -> Dense(growth)
        if i < len(counts) - 1:
            h = h -> Halve()
    y = h -> batch_norm -> mean(H, W) -> linear(classes)
""",
    "first_without": """
block Down(width):
    in  x: f32[B, C, H, W]
    out y: f32[B, width, H // 2, W // 2]
    y = x -> conv(width, 1) -> avg_pool(2)
model FirstWithout(counts = [1, 2, 2]):
    in  x: f32[B, 3, H, W]
    out y: f32[B, 5]
    h = x -> conv(4, 1)
    for i in range(len(counts)):
        if i > 0:
            h = h -> Down(4 * i)
        repeat counts[i]:
            h = h -> conv(6 + i, 3, pad = 1) -> relu
    y = h -> mean(H, W) -> linear(5)
""",
    "counted_without": """
model CountedWithout(counts = [2, 1, 2]):
    in  x: f32[B, 4]
    out y: f32[B, 4]
    h = x
    for i in range(len(counts)):
        repeat counts[i]:
            h = h -> layer_norm
            if i != 1:
                h = h -> linear(4)
            h = h -> relu
    y = h
""",
    "numbers": """
model Numbers(width = 4, depth = 3):
    in  x: f32[B, 1, L]
    out y: f32[B, 2, L]
    h = x
    d = 1
    s = 1.0
    repeat depth:
        h = s * (pad(h, [(0, 0), (0, 0), (d, 0)]) -> conv(width, 2, dilation = d) -> tanh)
        width = width + 2
        d = d * 2
        s = s / 2
    y = h -> conv(2, 1)
""",
    "fibonacci": """
model Fibonacci(depth = 4):
    in  x: f32[B, 2]
    out y: f32[B, 5]
    a, b = 2, 3
    h = x
    repeat depth:
        h = h -> linear(b) -> tanh
        c = a + b
        a = b
        b = c
    y = h -> linear(5)
""",
    "counted_stages": """
block Dense(growth):
    in  x: f32[B, C]
    out y: f32[B, C + growth]
    y = concat(x, x -> linear(growth) -> tanh, axis = 1)
model CountedStages(counts = [1, 3, 2], growth = 2):
    in  x: f32[B, 4]
    out y: f32[B, 3]
    h = x -> linear(2 * growth)
    width = 2 * growth
    for i in range(len(counts)):
        repeat counts[i]:
            h = h -> Dense(growth)
        width = width + counts[i] * growth
        if i < len(counts) - 1:
            width = width // 2
            h = h -> layer_norm -> linear(width)
    y = h -> linear(3)
""",
    "pyramid": """
block Conv(width):
    in  x: f32[B, C, H, W]
    out y: f32[B, width, H, W]
    y = x -> conv(width, 3, pad = 1) -> relu
model Pyramid(widths = [4, 6, 8], lateral = 5):
    in  image: f32[B, 3, H, W]
    out y: f32[B, lateral]
    out deep: f32[B, widths[-1]]
    h = image
    stages = []
    for width in widths:
        h = h -> Conv(width) -> Conv(width)
        stages += [h]
        h = h -> max_pool(2)
    deep = mean(h, H, W)
    total = stages[0] -> mean(H, W) -> linear(lateral)
    for i in range(len(widths)):
        total = total + (stages[i] -> conv(lateral, 1) -> mean(H, W))
    y = total
""",
    "ladder": """
block Step(width):
    in  x: f32[B, C]
    out y: f32[B, width]
    y = x -> linear(width) -> tanh
model Ladder(widths = [3, 5, 4], classes = 2):
    in  x: f32[B, 6]
    out y: f32[B, classes]
    h = x
    kept = []
    for width in widths:
        h = h -> Step(width)
        kept += [h]
    for i in range(len(widths)):
        h = concat(h, kept[-1 - i], axis = 1) -> Step(widths[-1 - i] + 1)
    y = concat(h, kept[1], axis = 1) -> linear(classes)
""",
    "residual_in_list": """
model ResidualInList(depth = 3, width = 4):
    in  x: f32[B, T, width]
    out y: f32[B, T, width]
    h = x
    outs = [x]
    repeat depth:
        h = h + (h -> layer_norm -> linear(2 * width) -> relu -> linear(width))
        outs += [h]
    y = (outs[1] + outs[-1]) -> layer_norm
""",
    "no_turns": """
block Unit(width, expand = 2):
    in  x: f32[B, C]
    out y: f32[B, width]
    h = x -> linear(expand * C) -> tanh -> linear(width)
    y = x + h if C == width else h
model NoTurns(table = [(4, 1, 1), (6, 3, 2), (5, 2, 1)], extra = 2):
    in  x: f32[B, 3]
    out y: f32[B, 2]
    h = x
    for width, count, expand in table:
        h = h -> Unit(width, expand = expand)
        repeat count - 1:
            h = h -> Unit(width, expand = expand)
        start = h
        repeat extra - expand:
            h = h + (h -> linear(width))
        h = h + start
    y = h -> linear(2)
""",
    "never_turns": """
model NeverTurns(depth = 0, width = 3):
    in  x: f32[B, 3]
    out y: f32[B, 2]
    h = x
    repeat depth:
        h = h -> linear(width)
    y = h -> linear(2)
""",
    "ops_in_a_table": """
block Unit(width, activation):
    in  x: f32[B, C]
    out y: f32[B, width]
    y = x -> linear(width) -> activation
model OpsInATable(classes = 2):
    in  x: f32[B, 3]
    out y: f32[B, classes]
    h = x
    for width, activation, count in [(4, relu, 1), (4, tanh, 2), (5, tanh, 1)]:
        h = h -> Unit(width, activation)
        repeat count - 1:
            h = h -> Unit(width, activation)
        h = h -> activation
    y = h -> linear(classes)
""",
    "halves": """
model Halves(width = 16, depth = 3):
    in  x: f32[B, 3]
    out y: f32[B, 2]
    h = x
    wide = width / 2
    repeat depth:
        h = h -> linear(wide) -> tanh
        wide = wide / 2
    y = h -> linear(2)
""",
    "dilations": """
model Dilations(depth = 3, base = 2):
    in  x: f32[B, 4, L]
    out y: f32[B, 2, L]
    h = x
    d = 1
    e = base
    repeat depth:
        h = h + (h -> conv(4, 3, dilation = d, pad = d) -> tanh)
        d = d * e
        e = e + 1
    y = h -> conv(2, 1)
""",
    "held_list": """
block Unit(width):
    in  x: f32[B, C]
    out y: f32[B, width]
    y = x -> linear(width) -> relu
model HeldList(n = 3, D = 4):
    in  ids: i32[B, T]
    in  x: f32[B, D]
    out y: f32[B, 9]
    units = []
    tables = []
    for i in range(n):
        units += [Unit(D)]
        tables += [embedding(9, D)]
    h = x + sum(tables[0](ids), axes = [1])
    for i in range(n - 1):
        h = h + units[n - 1 - i](h)
        h = h * sum(tables[i + 1](ids), axes = [1])
    y = (h -> units[0]) @ transpose(tables[-1].weight)
""",
    "mixed_list": """
model MixedList(widths = [4, 6], n = 2):
    in  x: f32[B, 3, L = 5]
    out y: f32[B, 3, 2]
    h = x
    for width in widths:
        h = h -> linear(width) -> batch_norm
    repeat n:
        h = h -> linear(7) -> prelu
    y = h -> linear(2)
""",
    "fields": """
model Fields(rows = [7, 9], width = 3):
    in  ids: i32[B, len(rows)]
    out y: f32[B, 1]
    latent = []
    for i, count in enumerate(rows):
        latent += [ids[:, i] -> embedding(count, width) as latent]
    y = concat(latent, axis = 1) -> linear(1)
""",
    "tasks": """
block Tower(widths):
    in  x: f32[B, C]
    out y: f32[B, N = widths[-1]]

    h = x
    for width in widths:
        h = h -> linear(width) -> relu
    y = h

model Tasks(experts = 3, tasks = 2, widths = [8, 6], head = [5, 1], norm = true):
    in  x: f32[B, 7]
    out y: f32[B, tasks]

    found = []
    repeat experts:
        found += [x -> Tower(widths)]
    every = stack(found, axis = 1)
    outs = []
    repeat tasks:
        gate = softmax(x -> linear(experts))
        mixed = sum(every * gate[..., none], axes = [1])
        z = layer_norm(mixed) if norm else mixed
        outs += [z -> Tower(head)]
    y = concat(outs, axis = 1)
""",
    "turned": """
model Turned(base = 500.0, w = 4):
    in  x: f32[B, 3, T, 8]
    in  p: i32[B, T]
    in  q: i32[T]
    out y: f32[B, 3, T, 8]
    h = rotary(x, base = base) * rotary(x, q, width = w)
    y = rotary(x, p) + h - rotary(x, pairing = "interleaved", width = 6)
""",
    "read_outside": """
model Outside:
    in  x: f32[B, 4]
    out y: f32[B, 4]
    h = x
    for width in [4, 5]:
        enc = linear(width)
        h = relu(enc(h)) @ enc.weight
    y = h
""",
    "sizes_behind": """
block Side(a, b):
    in  x: f32[B, C, H, W]
    out y: f32[B, a + b, H, W]
    y = concat(x -> conv(a, 1), x -> conv(b, 3, pad = 1), axis = 1)
model SizesBehind(table = [(2, 4), (3, 5)], n = 2):
    in  x: f32[B, 4, H, W]
    out y: f32[B, 5]
    h = x
    for a, b in table:
        h = h -> Side(a, b)
    h = h -> local_response_norm(3)
    repeat n:
        h = h -> conv(8, 3, pad = 1) -> pixel_shuffle(2)
    y = h -> mean(H, W) -> linear(5)
""",
    "bins_behind": """
model BinsBehind(n = 2, table = [(1, 4), (2, 3)]):
    in  x: f32[B, 3, H, W]
    out y: f32[B, 5]
    h = x
    for count, width in table:
        repeat count:
            h = h -> conv(width, 3, pad = 1) -> relu
        h = h -> max_pool(2)
    g = x
    repeat n:
        g = g -> conv(12, 3, pad = 1) -> pixel_shuffle(2)
    y = (h -> adaptive_avg_pool([3, 2])) + (g -> adaptive_max_pool([3, 2])) -> flatten -> linear(5)
""",
    "memories": """
block Layer(heads, shift):
    in  x: f32[B, T, D]
    in? keep: bool[B, T] = true
    out y: like x
    y = x + (roll(x, [shift - 2], axes = [1]) -> attention(heads, keep = keep))
model Memories(n = 2, D = 4):
    in  x: f32[B, T, D]
    in  past: f32[n, B, S, D]
    in? keep: bool[B, T] = true
    out next: f32[n, B, S, D]
    out y: f32[B, T, D]
    layer = Layer(2, 1)
    kept = []
    y = x
    for i in range(n):
        kept += [concat(past[i], y, axis = 1)[:, T:]]
        y = layer(y, keep)
    next = stack(kept)
""",
}
"""By name: .mdl text with one model."""
