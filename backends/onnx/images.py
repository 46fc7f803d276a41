"""Resizing and moving elements of images in ONNX, where its nodes mean the same."""

from __future__ import annotations

from ...compiler.array import np
from ...compiler.graph import Node
from ...compiler.ops.resize import lines, repeated
from .writer import Writer

_ROUNDING = {"half_up": "round_prefer_ceil", "half_down": "round_prefer_floor",
             "floor": "floor", "ceil": "ceil"}  # fmt: skip


def resize(w: Writer, n: Node, x: str) -> str:
    """One node, told everything: no two defaults of ONNX are the language's."""
    attrs, rank = n.attrs, n.output.type.rank
    scale, size = attrs["scale"], attrs["size"]
    scales = sizes = None
    if scale is not None:
        each = (scale,) * (rank - 2) if isinstance(scale, int) else scale
        scales = w.constant(np.asarray([1, 1, *each]), "f32")
    else:
        sizes = w.vector((*n.output.type.shape[:2], *size))
    cubic = attrs["mode"] == "cubic"
    more = {"cubic_coeff_a": attrs["a"], "exclude_outside": int(attrs["renormalise"])}
    near = {"nearest_mode": _ROUNDING[attrs["rounding"]]} if attrs["mode"] == "nearest" else {}
    return w("Resize", x, None, scales, sizes, mode=attrs["mode"],
             coordinate_transformation_mode=attrs["coordinates"],
             **(more if cubic else near))  # fmt: skip


def resize_by_body(n: Node) -> bool:
    """Which nearest element it is, ONNX Runtime finds by floats; and it blends images alone."""
    attrs, x = n.attrs, n.values[0].type
    if attrs["antialias"] or not x.floating or x.dtype == "f64":
        return True
    if attrs["mode"] == "nearest":
        found = lines(x.shape[2:], attrs["size"], attrs["scale"], attrs["coordinates"])
        each = (repeated(line, attrs["coordinates"], attrs["rounding"]) for line in found)
        return not all(each)
    return x.rank != 4


def pixel_shuffle(w: Writer, n: Node, x: str) -> str:
    order = str(n.attrs["order"]).upper()
    return w("DepthToSpace", x, blocksize=n.attrs["factor"], mode=order)


def shuffle_by_body(n: Node) -> bool:
    """ONNX Runtime moves floats alone."""
    return n.output.type.dtype != "f32"


def pixel_unshuffle(w: Writer, n: Node, x: str) -> str:
    return w("SpaceToDepth", x, blocksize=n.attrs["factor"])


def unshuffle_by_body(n: Node) -> bool:
    """ONNX has only one order of channels for the way back."""
    return bool(n.attrs["order"] != "dcr") or shuffle_by_body(n)


def local_response_norm(w: Writer, n: Node, x: str) -> str:
    a = n.attrs
    return w("LRN", x, size=a["size"], alpha=a["alpha"], beta=a["beta"], bias=a["k"])


def local_by_body(n: Node) -> bool:
    """Of an even number of channels, ONNX has the odd one at the other end."""
    return n.attrs["size"] % 2 == 0 or n.output.type.rank != 4
