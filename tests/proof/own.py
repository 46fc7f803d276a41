"""Models that have what no example has, so that every kind of fault has a place somewhere."""

from __future__ import annotations

OWN: dict[str, str] = {
    "shares": """
# The mean of all places, for each of some heads, weighted by shares that sum to 1 over the places.
model Shares(heads = 6):
    in  x: f32[B, T, 12]
    out y: f32[B, heads, 12]
    share = x -> linear(heads) -> softmax(T)
    y = transpose(share) @ x
""",
    "windows": """
# Pools with padding, a resized image, groups, means, and activations of other slopes.
model Windows():
    in  x: f32[B, 4, H, W]
    out y: f32[B, 6, H, W]
    out z: f32[B, 6]
    require H % 2 == 0 and W % 2 == 0 and H >= 4 and W >= 4, "sides that halve evenly"
    h = x -> conv(6, 3, stride = 2, pad = 1) -> leaky_relu
    a = h -> max_pool(3, stride = 1, pad = 1)
    b = h -> avg_pool(3, stride = 1, pad = 1)
    low = concat(a - b, relu(8 * a) / (2 + sigmoid(b)), axis = 1) -> conv(6, 1)
    y = resize(low, [2, 2], mode = "linear") -> silu -> conv(6, 3, pad = 1)
    z = low -> group_norm(2) -> tanh -> mean(H, W)
""",
    "turns": """
# Layers of vectors: products with square tables, attention, other norms, and a variance.
model Turns():
    in  x: f32[B, T, 8]
    out y: f32[B, T, 8]
    param turn: f32[8, 8] = normal(0.4)
    h = x -> linear(8) -> rms_norm
    h = h @ turn + (h -> linear(8) -> relu)
    h = h + (h -> attention(2))
    y = (h -> linear(8) -> layer_norm) + var(h, axes = [-1], keep = true)
""",
    "gates": """
# A recurrent layer.
model Gates():
    in  x: f32[B, T, 5]
    out y: f32[B, T, 6]
    y, last, cell = x -> lstm(6)
""",
}
"""Name -> source."""
