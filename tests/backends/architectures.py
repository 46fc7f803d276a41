"""Models as people write them: what each is known for, at a size that runs in no time."""

from __future__ import annotations

ARCHITECTURES: dict[str, str] = {
    "vit": """
# Vision transformer (Dosovitskiy et al. 2020).
block Encoder(heads, mlp = 4, drop = 0.0):
    in  x: f32[B, T, D]
    out y: like x
    h = x + (x -> layer_norm(eps = 1e-6) -> attention(heads) -> dropout(drop))
    y = h + (h -> layer_norm(eps = 1e-6) -> linear(mlp * D) -> gelu -> dropout(drop)
        -> linear(D) -> dropout(drop))

model ViT(patch = 4, D = 8, depth = 2, heads = 2, classes = 5):
    in  image: f32[B, 3, H = 16, W = 16]
    out logits: f32[B, classes]
    param cls: f32[1, 1, D] = zeros
    param position: f32[1, (H / patch) * (W / patch) + 1, D] = normal(0.02)
    tokens = image -> conv(D, patch, stride = patch) -> flatten(start = 2) -> transpose
    h = concat(expand(cls, [B, 1, D]), tokens, axis = 1) + position
    repeat depth:
        h = h -> Encoder(heads)
    h = h -> layer_norm(eps = 1e-6)
    logits = h[:, 0] -> linear(classes)
""",
    "llama": """
block Feed(hidden):
    in  x: f32[B, T, D]
    out y: like x
    gate = x -> linear(hidden, bias = false) -> silu
    y = (gate * (x -> linear(hidden, bias = false))) -> linear(D, bias = false)

block Rotary(base = 10000.0):
    in  x: f32[B, heads, T, K]
    out y: like x
    half = K / 2
    step = cast(iota(half), f32) * (-2.0 / K)
    freq = base ** step
    place = cast(iota(T), f32)
    angle = unsqueeze(place, 1) * unsqueeze(freq, 0)
    a = x[:, :, :, :half]
    b = x[:, :, :, half:]
    y = concat(a * cos(angle) - b * sin(angle), a * sin(angle) + b * cos(angle), axis = 3)

block SelfAttention(heads, groups):
    in  x: f32[B, T, D]
    out y: like x
    rotary = Rotary()
    q = x -> linear(D, bias = false) -> reshape([B, T, heads, D / heads])
        -> transpose([0, 2, 1, 3]) -> rotary
    k = x -> linear(groups * (D / heads), bias = false) -> reshape([B, T, groups, D / heads])
        -> transpose([0, 2, 1, 3]) -> rotary
    v = x -> linear(groups * (D / heads), bias = false) -> reshape([B, T, groups, D / heads])
        -> transpose([0, 2, 1, 3])
    k = expand(unsqueeze(k, 2), [B, groups, heads / groups, T, D / heads])
    k = reshape(k, [B, heads, T, D / heads])
    v = expand(unsqueeze(v, 2), [B, groups, heads / groups, T, D / heads])
    v = reshape(v, [B, heads, T, D / heads])
    y = sdpa(q, k, v, causal = true) -> transpose([0, 2, 1, 3]) -> reshape([B, T, D])
        -> linear(D, bias = false)

block Layer(heads, groups, hidden):
    in  x: f32[B, T, D]
    out y: like x
    h = x + (x -> rms_norm -> SelfAttention(heads, groups))
    y = h + (h -> rms_norm -> Feed(hidden))

model Llama(vocab = 19, D = 16, layers = 2, heads = 4, groups = 2, hidden = 24):
    in  ids: i32[B, T]
    out logits: f32[B, T, vocab]
    h = ids -> embedding(vocab, D)
    repeat layers:
        h = h -> Layer(heads, groups, hidden)
    logits = h -> rms_norm -> linear(vocab, bias = false)
""",
    "mobilenet": """
block Squeeze(ratio = 4):
    in  x: f32[B, C, H, W]
    out y: like x
    gate = x -> mean(H, W, keep = true) -> conv(C / ratio, 1) -> relu -> conv(C, 1) -> sigmoid
    y = x * gate

block Inverted(width, expand = 4, stride = 1, kernel = 3, squeeze = true):
    in  x: f32[B, C, H, W]
    out y: f32[B, width, ceil(H / stride), ceil(W / stride)]
    h = x -> conv(expand * C, 1, bias = false) -> batch_norm(eps = 1e-3, momentum = 0.01)
        -> hard_swish
    wide = expand * C
    h = h -> conv(wide, kernel, stride = stride, pad = kernel // 2, groups = wide, bias = false)
        -> batch_norm(eps = 1e-3, momentum = 0.01) -> hard_swish
    if squeeze:
        h = h -> Squeeze()
    h = h -> conv(width, 1, bias = false) -> batch_norm(eps = 1e-3, momentum = 0.01)
    y = x + h if stride == 1 and C == width else h

model MobileNet(classes = 5):
    in  image: f32[B, 3, H, W]
    out logits: f32[B, classes]
    h = image -> conv(8, 3, stride = 2, pad = 1, bias = false) -> batch_norm -> hard_swish
    for width, stride, kernel, squeeze in [(8, 1, 3, false), (12, 2, 5, true), (12, 1, 5, true)]:
        h = h -> Inverted(width, stride = stride, kernel = kernel, squeeze = squeeze)
    logits = h -> mean(H, W) -> linear(16) -> hard_swish -> dropout(0.2) -> linear(classes)
""",
    "densenet": """
block Dense(growth, count):
    in  x: f32[B, C, H, W]
    out y: f32[B, C + count * growth, H, W]
    h = x
    repeat count:
        g = h -> batch_norm -> relu -> conv(growth, 3, pad = 1, bias = false)
        h = concat(h, g, axis = 1)
    y = h
model DenseNet(blocks = [2, 3], growth = 4):
    in  image: f32[B, 3, H, W]
    out y: f32[B, 4]
    h = image -> conv(8, 3, pad = 1)
    for count in blocks:
        h = h -> Dense(growth, count)
        h = h -> conv(6, 1) -> avg_pool(2)
    y = h -> mean(H, W) -> linear(4)
""",
    "convnext": """
block Block(scale = 1e-6):
    in  x: f32[B, C, H, W]
    out y: like x
    param gamma: f32[C] = constant(0.1)
    h = x -> conv(C, 7, pad = 3, groups = C) -> transpose([0, 2, 3, 1])
    h = h -> layer_norm(eps = 1e-6) -> linear(4 * C) -> gelu -> linear(C)
    y = x + transpose(h * gamma, [0, 3, 1, 2])
model ConvNeXt(widths = [4, 6], depths = [1, 2], classes = 3):
    in  image: f32[B, 3, H, W]
    out logits: f32[B, classes]
    h = image
    for width, depth, step in zip(widths, depths, [4, 2]):
        h = h -> conv(width, step, stride = step)
        repeat depth:
            h = h -> Block()
    logits = h -> mean(H, W) -> layer_norm(eps = 1e-6) -> linear(classes)
""",
    "mixer": """
block Mixer(tokens, channels):
    in  x: f32[B, T = 6, D]
    out y: like x
    h = x -> layer_norm -> transpose -> linear(tokens) -> gelu -> linear(T) -> transpose
    h = x + h
    y = h + (h -> layer_norm -> linear(channels) -> gelu -> linear(D))
model MLPMixer(depth = 2, D = 8):
    in  x: f32[B, 6, D]
    out y: f32[B, 3]
    h = x
    repeat depth:
        h = h -> Mixer(12, 16)
    y = h -> layer_norm -> mean(axes = [1]) -> linear(3)
""",
    "vae": """
model VAE(latent = 3):
    in  x: f32[B, 1, H = 8, W = 8]
    in  noise: f32[B, latent]
    out y: f32[B, 1, 8, 8]
    out loss: f32[]
    h = x -> conv(4, 3, stride = 2, pad = 1) -> leaky_relu(0.2) -> flatten
    mu = h -> linear(latent)
    logvar = h -> linear(latent)
    z = mu + noise * exp(0.5 * logvar)
    h = z -> linear(4 * 4 * 4) -> relu
    h = reshape(h, [B, 4, 4, 4]) -> conv_transpose(1, 4, stride = 2, pad = 1)
    y = sigmoid(h)
    kl = sum(1.0 + logvar - mu * mu - exp(logvar), axes = [1]) * -0.5
    loss = mean(kl) + bce_with_logits(h, x)
""",
    "wavenet": """
block Gated(width, dilation):
    in  x: f32[B, C, L]
    out y: like x
    out skip: like x
    h = x -> conv(2 * C, 2, dilation = dilation, pad = [(dilation, 0)]) -> glu(axis = 1)
    skip = h -> conv(C, 1)
    y = x + (h -> conv(C, 1))
model WaveNet(depth = 3, width = 4):
    in  x: f32[B, 1, L]
    out y: f32[B, 2, L]
    h = x -> conv(width, 1)
    total = h * 0.0
    for i in range(depth):
        h, skip = Gated(width, 2 ** i)(h)
        total = total + skip
    y = total -> relu -> conv(2, 1)
""",
    "gru": """
block GRU(width):
    in  x: f32[B, C]
    in  h: f32[B, width]
    out y: f32[B, width]
    xr, xz, xn = x -> linear(3 * width) -> split(3, axis = 1)
    hr, hz, hn = h -> linear(3 * width) -> split(3, axis = 1)
    r = sigmoid(xr + hr)
    z = sigmoid(xz + hz)
    n = tanh(xn + r * hn)
    y = (1.0 - z) * n + z * h
model Steps(steps = 3, width = 4):
    in  x: f32[B, 3, C = 5]
    out y: f32[B, width]
    cell = GRU(width)
    h = x[:, 0] -> linear(width)
    for t in range(steps):
        h = cell(x[:, t], h)
    y = h
""",
    "swin_like": """
block Window(heads, size = 2, shift = 0):
    in  x: f32[B, H, W, C]
    out y: like x
    h = reshape(x, [B, H / size, size, W / size, size, C])
    h = transpose(h, [0, 1, 3, 2, 4, 5])
    h = reshape(h, [B * (H / size) * (W / size), size * size, C])
    h = h -> layer_norm -> attention(heads)
    h = reshape(h, [B, H / size, W / size, size, size, C])
    h = reshape(transpose(h, [0, 1, 3, 2, 4, 5]), [B, H, W, C])
    y = x + h
model SwinLike(depth = 2):
    in  x: f32[B, 3, H = 8, W = 8]
    out y: f32[B, 4]
    h = x -> conv(4, 2, stride = 2) -> transpose([0, 2, 3, 1])
    repeat depth:
        h = h -> Window(2)
    y = h -> mean(axes = [1, 2]) -> linear(4)
""",
    "seq2seq": """
block Enc(heads):
    in  x: f32[B, S, D]
    in? keep: bool[B, S] = true
    out y: like x
    h = x + (x -> layer_norm -> attention(heads, keep = keep))
    y = h + (h -> layer_norm -> linear(2 * D) -> relu -> linear(D))
block Dec(heads):
    in  x: f32[B, T, D]
    in  memory: f32[B, S, D]
    in? keep: bool[B, S] = true
    out y: like x
    h = x + (x -> layer_norm -> attention(heads, causal = true))
    h = h + (h -> layer_norm -> attention(heads, context = memory, keep = keep))
    y = h + (h -> layer_norm -> linear(2 * D) -> relu -> linear(D))
model Seq2Seq(vocab = 11, D = 8, layers = 2, heads = 2):
    in  source: i32[B, S <= 16]
    in  target: i32[B, T <= 16]
    in? keep: bool[B, S] = true
    out logits: f32[B, T, vocab]
    token = embedding(vocab, D)
    param position: f32[16, D] = normal(0.02)
    m = token(source) * sqrt(D) + position[:S]
    repeat layers as encoder:
        m = Enc(heads)(m, keep = keep)
    h = token(target) * sqrt(D) + position[:T]
    repeat layers as decoder:
        h = Dec(heads)(h, m, keep = keep)
    logits = (h -> layer_norm) @ transpose(token.weight)
""",
    "googlenet": """
block Plain(width):
    in  x: f32[B, C, H, W]
    out y: f32[B, width, H, W]
    y = x -> conv(width, 3, pad = 1) -> relu
block Fire(squeeze, width):
    in  x: f32[B, C, H, W]
    out y: f32[B, 2 * width, H, W]
    s = x -> conv(squeeze, 1) -> relu
    y = concat(s -> conv(width, 1) -> relu, s -> conv(width, 3, pad = 1) -> relu, axis = 1)
model GoogLeNet(classes = 3, aux = true, Unit = Plain):
    in  x: f32[B, 3, H, W]
    out y: f32[B, classes]
    out side: f32[B, classes]
    h = x -> conv(4, 3, stride = 2, pad = 1) -> relu -> max_pool(3, stride = 2, ceil = true)
    for squeeze, width in [(2, 3), (3, 4)]:
        h = h -> Fire(squeeze, width)
    side = h -> mean(H, W) -> linear(classes) if aux else constant(0.5) -> expand([B, classes])
    h = h -> max_pool(3, stride = 2, pad = 1, ceil = true) -> Unit(4)
    y = h -> max_pool(2, ceil = true) -> mean(H, W) -> linear(classes)
""",
    "retinanet": """
block Head(depth, outputs):
    in  x: f32[B, C, H, W]
    out y: f32[B, H * W, outputs]
    h = x
    repeat depth:
        h = h -> conv(C, 3, pad = 1) -> relu
    y = h -> conv(outputs, 3, pad = 1) -> rearrange("b c h w -> b (h w) c")
model RetinaNet(widths = [4, 6, 8], width = 5, depth = 1):
    in  x: f32[B, 3, H, W]
    out y: f32[B, (H / 4) * (W / 4) + (H / 8) * (W / 8), 2]
    require H % 8 == 0 and W % 8 == 0, "sides of multiples of 8"
    features = []
    h = x
    for w in widths:
        h = h -> conv(w, 3, stride = 2, pad = 1) -> relu
        features += [h]
    top = features[-1] -> conv(width, 1)
    levels = [top]
    for f in features[1:-1][::-1]:
        top = (f -> conv(width, 1)) + resize(top, scale = 2)
        levels += [top]
    head = Head(depth, 2)
    found = []
    for level in levels:
        found += [level -> head]
    y = concat(found, axis = 1)
""",
    "hrnet": """
block Fuse:
    in  a: f32[B, C, H, W]
    in  b: f32[B, D, H / 2, W / 2]
    out x: like a
    out y: like b
    x = relu(a + (b -> conv(C, 1) -> resize(scale = 2)))
    y = relu(b + (a -> conv(D, 3, stride = 2, pad = 1)))
model HRNet(widths = [3, 5], modules = 2):
    in  image: f32[B, 3, H, W]
    out y: f32[B, 2, H / 2, W / 2]
    require H % 4 == 0 and W % 4 == 0, "the sides are multiples of 4"
    high = image -> conv(widths[0], 3, stride = 2, pad = 1)
    low = high -> conv(widths[1], 3, stride = 2, pad = 1)
    repeat modules:
        high, low = (high, low) -> Fuse
    y = concat(high, resize(low, scale = 2), axis = 1) -> conv(2, 1)
""",
    "deberta": """
block Attention(heads, far):
    in  x: f32[B, T, D]
    in  relative: f32[2 * far, D]
    out y: like x
    q = x -> linear(D) as query -> rearrange("b t (h k) -> b h t k", h = heads)
    k = x -> linear(D) as key -> rearrange("b t (h k) -> b h t k", h = heads)
    v = x -> linear(D) as value -> rearrange("b t (h k) -> b h t k", h = heads)
    p = relative -> linear(D) as place -> rearrange("r (h k) -> h k r", h = heads)
    offset = iota(T)[:, none] - iota(T)
    index = clamp(offset + far, 0, 2 * far - 1) -> expand([B, heads, T, T])
    bias = gather_elements(q @ p, index, axis = -1)
    y = sdpa(q, k, v, bias = bias, causal = true) -> rearrange("b h t k -> b t (h k)")

model DeBERTa(D = 8, layers = 2, heads = 2, far = 3):
    in  x: f32[B, T, D]
    out h: f32[B, T, D]
    param relative: f32[2 * far, D] = normal(0.02)
    h = x
    repeat layers:
        h = h + Attention(heads, far)(h, relative) -> layer_norm
""",
}
"""By name: .mdl text with one model."""
