"""Models for the structure of emitted code: static ifs, loops, lists, state, names, shapes."""

from __future__ import annotations

from tests.backends.loops import LOOPS

STRUCTURES: dict[str, str] = {
    "if_statements": """
block Unit(width, deep = false, gate = false):
    in  x: f32[B, C]
    out y: f32[B, width]
    if deep:
        h = x -> linear(2 * width) -> relu
        h = h -> layer_norm -> linear(width)
    else:
        h = x -> linear(width)
    if gate:
        if deep:
            g = h -> linear(width) -> sigmoid
        else:
            g = sigmoid(h)
        h = h * g
    y = h

model Ifs:
    in  x: f32[B, 4]
    out y: f32[B, 3]
    a = x -> Unit(6)
    b = a -> Unit(6, deep = true)
    c = b -> Unit(5, deep = true, gate = true) -> Unit(4, gate = true)
    y = c -> linear(3)
""",
    "both_arms": """
block Act(kind):
    in  x: f32[B, C, L]
    out y: f32[B, C, L]
    h = x -> conv(C, 1) if kind == 1 else x -> conv(C, 3, pad = 1) -> batch_norm
    y = relu(h) if kind == 1 else tanh(h)
model Arms:
    in  x: f32[B, 4, L]
    out y: f32[B, 4, L]
    y = x -> Act(1) -> Act(2) -> Act(1)
""",
    "if_in_loop": """
block Stage(width, down = false):
    in  x: f32[B, C, L]
    out y: f32[B, width, M]
    h = x -> conv(width, 3, pad = 1)
    y = h -> max_pool(2) if down else h
model Loop(widths = [(4, 1), (6, 0), (8, 1)]):
    in  x: f32[B, 4, L = 16]
    out y: f32[B, 2]
    h = x
    for width, norm in widths:
        h = h -> conv(width, 1)
        if norm == 1:
            h = h -> batch_norm -> relu
        else:
            h = h -> relu
        h = h -> conv(width, 3, pad = 1)
    y = h -> mean(axes = [2]) -> linear(2)
""",
    "loops": """
model Loops(n = 3):
    in  x: f32[B, 6]
    out y: f32[B, 6]
    h = x
    g = x
    repeat n:
        h = h + (g -> linear(6) -> relu)
        g = (h -> linear(6)) * g
    for a in [0.5, 0.25]:
        h = h * a + g
    y = h + g
""",
    "nested_loops": """
model Nested(table = [(4, 2), (6, 1), (5, 3)]):
    in  x: f32[B, 3]
    out y: f32[B, 2]
    h = x
    for width, count in table:
        h = h -> linear(width)
        repeat count:
            h = h + (h -> linear(width) -> tanh)
    y = h -> linear(2)
""",
    "shared": """
block Body(width):
    in  x: f32[B, C]
    out y: f32[B, width]
    y = x -> linear(width) -> batch_norm -> relu
model Shared:
    in  a: f32[B, 4]
    in  b: f32[B, 4]
    out d: f32[B, 4]
    out s: f32[B]
    body = Body(4)
    norm = batch_norm()
    u = body(a)
    v = body(b)
    w = body(norm(u) - norm(v))
    d = w * u
    s = sum(w, axes = [1])
""",
    "states": """
model States:
    in  x: f32[B, 3]
    out y: f32[B, 3]
    out seen: f32[3]
    state a: f32[3] = zeros
    state b: f32[3] = ones
    state n: i32[1] = zeros
    y = x * b + a
    seen = a
    a := b
    b := a + mean(x, axes = [0])
    n := n + 1
""",
    "optional": """
model Optional(heads = 2):
    in  x: f32[B, T, 4]
    in? keep: bool[B, T] = true
    in? scale: f32[B, 4] = 1.0
    in? shift: f32[4] = 0.5
    out y: f32[B, T, 4]
    y = (x -> attention(heads, keep = keep)) * unsqueeze(scale, 1) + shift
""",
    "reserved": """
block Tensor(width):
    in  self: f32[B, C]
    out forward: f32[B, width]
    type = linear(width)
    train = layer_norm()
    forward = self -> type -> train
block nn(torch, F = 2):
    in  x: f32[B, C]
    out super: f32[B, torch]
    h = x -> linear(torch) -> relu as forward
    super = h * F
model Path(len = 3, list = 2):
    in  class: f32[B, D]
    in  input: f32[B, D = 4]
    out lambda: f32[B, len]
    param weight: f32[4] = ones
    h = (class + input * weight) -> Tensor(4) -> nn(5)
    lambda = h -> linear(len * list) -> linear(len)
""",
    "lists": """
block MLP(widths, drop = 0.0):
    in  x: f32[B, C]
    out y: f32[B, widths[-1]]
    h = x
    for width in widths:
        h = h -> linear(width) -> gelu
    y = h -> dropout(drop)
model Lists(widths = [5, 6, 7], kernel = [3, 1]):
    in  x: f32[B, 4, H, W]
    out y: f32[B, 7]
    h = x -> conv(4, kernel, pad = [1, 0])
    y = h -> mean(H, W) -> MLP(widths)
""",
    "params": """
model Params(D = 4):
    in  x: f32[B, T <= 9, D]
    out y: f32[B, T, D]
    param scale: f32[D] = ones
    param table: f32[9, D] = uniform(-0.5, 0.5)
    param mix: f32[D, D] = xavier_uniform
    param bias: f32[D] = constant(0.5)
    h = x * scale + table[:T]
    y = (h @ mix) + bias
""",
    "chain_odd": """
block Odd(width, big = false):
    in  x: f32[B, C, L = 8]
    out y: f32[B, width, L]
    skip = x if C == width else x -> conv(width, 4, pad = [(1, 2)]) -> batch_norm
    down = x -> conv(width, 1) -> transpose -> layer_norm -> transpose if big else x
    y = skip + down
model ChainOdd:
    in  x: f32[B, 4, 8]
    out y: f32[B, 6, 8]
    y = x -> Odd(4) -> Odd(6, big = true)
""",
    "geometry": """
model Geometry:
    in  x: f32[B, 4, H, W]
    out y: f32[B, 3]
    h = x -> conv(6, (3, 2), pad = [(1, 0), (0, 1)], stride = (2, 1)) -> relu
    h = h -> conv(6, 4, pad = "same") -> max_pool(3, stride = 2, pad = [(1, 0), (1, 1)])
    h = h -> conv_transpose(4, 3, stride = 2, pad = [(1, 0), (0, 1)], output_pad = 1)
    h = pad(h, [(0, 0), (0, 0), (1, 2), (2, 1)], mode = "reflect")
    h = h -> avg_pool(2, pad = [(1, 0), (0, 0)], count_pad = true)
    y = h -> mean(H, W) -> linear(3)
""",
    "slices": """
model Slices(k = 2):
    in  x: f32[B, T, 6]
    in  i: i32[B]
    out y: f32[B, T, 6]
    out z: f32[B, 3, 4]
    a = x[:, :, 1:4]
    b = x[:, :, ::2]
    c = concat(a, b, axis = 2)
    y = c + x[:, :1] + unsqueeze(x[:, T - 1], 1)
    z = x[:, :3, k:]
""",
    "heads": """
block SelfAttention(heads):
    in  x: f32[B, T, D]
    out y: like x
    require D % heads == 0, "heads"
    q, k, v = x -> linear(3 * D, bias = false) -> split(3, axis = -1)
    q = q -> reshape([B, T, heads, D / heads]) -> transpose([0, 2, 1, 3])
    k = k -> reshape([B, T, heads, D / heads]) -> transpose([0, 2, 1, 3])
    v = v -> reshape([B, T, heads, D / heads]) -> transpose([0, 2, 1, 3])
    y = sdpa(q, k, v, causal = true) -> transpose([0, 2, 1, 3]) -> reshape([B, T, D]) -> linear(D)
model Heads:
    in  x: f32[B, T, 8]
    out y: f32[B, T, 8]
    y = x -> SelfAttention(2)
""",
    "losses": """
model Losses:
    in  x: f32[B, T, 5]
    in  label: i32[B, T]
    in  target: f32[B, T, 5]
    out a: f32[]
    out b: f32[]
    out c: f32[B, T]
    a = cross_entropy(x, label)
    b = mse(x, target) + mae(x, target, reduction = "sum") + huber(x, target, delta = 0.3)
    each = bce_with_logits(x, sigmoid(target), reduction = "none")
    c = cross_entropy(x, label, reduction = "none") + mean(each, axes = [2])
""",
    "explicit": """
model Explicit(D = 4):
    in  x: f32[B, 3, L]
    out y: f32[B, 6, L]
    param kernel: f32[6, 3, 3] = normal(0.1)
    param gain: f32[6] = ones
    h = conv(x, 6, 3, pad = 1, bias = false, weight = kernel)
    y = h * reshape(gain, [6, 1])
""",
    "cross_self": """
block Decoder(heads):
    in  x: f32[B, T, D]
    in  memory: f32[B, S, E]
    in? keep: bool[B, S] = true
    out y: like x
    h = x + (x -> layer_norm -> attention(heads, causal = true))
    h = h + (h -> layer_norm -> attention(heads, context = memory, keep = keep))
    y = h + (h -> layer_norm -> linear(2 * D) -> gelu -> linear(D))
model CrossSelf(layers = 2):
    in  x: f32[B, T, D = 8]
    in  memory: f32[B, S, E = 6]
    in? keep: bool[B, S] = true
    out y: f32[B, T, D]
    h = x
    repeat layers:
        h = Decoder(2)(h, memory, keep = keep)
    y = h
""",
    "phi_out": """
block P(width):
    in  x: f32[B, C]
    out y: f32[B, width]
    y = x if C == width else x -> linear(width)
block Q(flag = true, other = false):
    in  x: f32[B, C]
    out y: f32[B, C]
    out z: f32[B, C]
    a = x -> linear(C)
    b = tanh(x)
    y = relu(a if flag else b) + (x if other else b)
    z = b if other else a
model PhiOut:
    in  x: f32[B, 4]
    out y: f32[B, 6]
    h = x -> P(4) -> P(6)
    u, v = h -> Q()
    w, z = u -> Q(flag = false)
    p, q = (w + z) -> Q(flag = false, other = true)
    y = p + q + v
""",
    "phi_loop": """
model PhiLoop(table = [(6, 1), (6, 0), (6, 1)]):
    in  x: f32[B, 6]
    out y: f32[B, 6]
    h = x
    for width, act in table:
        g = h -> linear(width)
        h = relu(g) if act == 1 else g
    y = h
""",
    "phi_nested": """
block N(a = 0, b = 0):
    in  x: f32[B, C]
    out y: f32[B, C]
    if a == 1:
        h = x -> linear(C)
        if b == 1:
            h = relu(h)
        else:
            h = h -> layer_norm
    else:
        if b == 1:
            h = tanh(x)
        else:
            h = x
    y = h * 2.0
model PhiNested:
    in  x: f32[B, 6]
    out y: f32[B, 6]
    y = x -> N() -> N(a = 1) -> N(b = 1) -> N(a = 1, b = 1)
""",
    "shared_loop": """
model SharedLoop(n = 3):
    in  x: f32[B, 4]
    out y: f32[B, 4]
    mix = linear(4)
    norm = batch_norm()
    h = x
    repeat n:
        h = h + (h -> mix -> relu)
        h = norm(h)
    y = h
""",
    "state_loop": """
block Ema(rate = 0.5):
    in  x: f32[B, C]
    out y: f32[B, C]
    state seen: f32[C] = zeros
    param gain: f32[C] = ones
    seen := seen * rate + mean(x, axes = [0]) * (1.0 - rate)
    y = (x - seen) * gain
model StateLoop(n = 2):
    in  x: f32[B, 4]
    out y: f32[B, 4]
    h = x
    repeat n:
        h = h -> Ema(rate = 0.25) -> linear(4)
    y = h -> Ema()
""",
    "skip_list": """
model SkipList(widths = [4, 6, 6]):
    in  x: f32[B, 4]
    out y: f32[B, 6]
    out z: f32[B, 16]
    outs = []
    h = x
    for width in widths:
        h = h -> linear(width) -> relu
        outs += [h]
    y = outs[-1] + outs[1]
    z = concat(outs[0], outs[1], outs[2], axis = 1)
""",
    "loop_sizes": """
block Mix(times, groups = 2):
    in  x: f32[B, C]
    out y: f32[B, C]
    h = reshape(x, [B, groups, C / groups])
    for scale in [1, 2]:
        h = h * scale + mean(h, axes = [1], keep = true)
    y = reshape(h, [B, C])
model LoopSizes(widths = [4, 8, 6]):
    in  x: f32[B, 4]
    out y: f32[B, 6]
    h = x
    for width in widths:
        h = h -> linear(width) -> Mix(width)
        h = h * width + unsqueeze(mean(h, axes = [1]), 1)
    y = h
""",
    "deep_blocks": """
block Inner(width, act = true):
    in  x: f32[B, C]
    out y: f32[B, width]
    h = x -> linear(width)
    y = relu(h) if act else h
block Outer(width, depth = 2):
    in  x: f32[B, C]
    out y: f32[B, width]
    h = x -> Inner(width)
    repeat depth - 1:
        h = h -> Inner(width, act = false)
    y = h
model DeepBlocks(depths = [2, 3], width = 5):
    in  x: f32[B, 4]
    out y: f32[B, 2]
    h = x
    for depth in depths:
        h = h -> Outer(width, depth = depth)
    y = h -> linear(2)
""",
    "two_lists": """
block Cell(width):
    in  x: f32[B, C]
    in  h: f32[B, width]
    out y: f32[B, width]
    out g: f32[B, width]
    z = sigmoid((x -> linear(width)) + (h -> linear(width, bias = false)))
    g = z * h
    y = tanh(g)
model TwoLists(n = 2):
    in  x: f32[B, 3]
    in  h: f32[B, 5]
    out y: f32[B, 5]
    out s: f32[B, 5]
    a = x -> linear(5)
    s = h
    repeat n:
        a, s = Cell(5)(a, s)
    y = a
""",
    "blocks_param": """
block Scale:
    in  x: f32[B, T, D]
    out y: like x
    param gain: f32[D] = ones
    param shift: f32[D] = zeros
    y = x * gain + shift
model BlocksParam(D = 4, n = 2):
    in  x: f32[B, T, D]
    out y: f32[B, T, D]
    first = Scale()
    h = first(x)
    repeat n:
        h = h -> Scale() -> linear(D)
    y = first(h)
""",
    "inner_model_if": """
block Norm(kind = "layer"):
    in  x: f32[B, C]
    out y: like x
    if kind == "layer":
        y = x -> layer_norm
    else:
        if kind == "rms":
            y = x -> rms_norm
        else:
            y = x
model InnerIf:
    in  x: f32[B, 4]
    out y: f32[B, 4]
    y = x -> Norm() -> linear(4) -> Norm(kind = "rms") -> linear(4) -> Norm(kind = "none")
""",
    "unseen_arms": """
block Gated(width, gate = true, extra = 0):
    in  x: f32[B, C]
    out y: f32[B, width]
    h = x -> linear(width)
    if gate:
        h = h * sigmoid(h -> linear(width))
    repeat extra:
        h = h -> linear(width) -> relu
    y = h

model UnseenArms(width = 16, gate = true, head = 0, deep = 3):
    in  x: f32[B, 8]
    out y: f32[B, head if head > 0 else width]
    h = x -> linear(width)
    repeat deep:
        h = h -> Gated(width, gate = gate)
    if head > 0:
        h = h -> linear(head)
    y = h
""",
    "unit": """
block Plain(width):
    in  x: f32[B, C]
    out y: f32[B, width]
    y = x -> linear(width) -> relu
block Wide(width, factor = 2):
    in  x: f32[B, C]
    out y: f32[B, factor * width]
    y = x -> linear(3 * width) -> gelu -> linear(factor * width)
model Chosen(wide = true, widths = [4, 6], count = 2):
    in  x: f32[B, 8]
    out y: f32[B, 3]
    Unit = Wide if wide else Plain
    h = x -> Unit(8)
    for width in widths:
        h = h -> Unit(width)
        repeat count - 1:
            h = h -> Unit(width)
    y = h -> linear(3)
""",
    "same_width": """
model SameWidth(depth = 2, width = 3):
    in  x: f32[B, 3]
    out y: f32[B, 2]
    h = x
    repeat depth:
        h = h -> linear(width) -> relu
    y = h -> linear(2)
""",
    **LOOPS,
}
"""By name: .mdl text with one model."""
