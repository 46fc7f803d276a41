"""The examples at sizes that a laptop verifies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlc
from mlc.compiler.graph import Graph

EXAMPLES = Path(__file__).parents[2] / "examples"

CONFIG: dict[str, tuple[str, dict[str, Any]]] = {
    "mnist": ("mnist", {}),
    "lenet": ("lenet", {}),
    "tiny_resnet": ("tiny_resnet", {}),
    "gpt": ("gpt", {"vocab": 23, "D": 24, "layers": 2, "heads": 3}),
    "unet": ("unet", {"widths": [4, 7], "classes": 3}),
    "densenet": ("densenet", {"counts": [1, 2, 1], "growth": 5, "classes": 5}),
    "convnext": ("convnext", {"depths": [1, 2, 1], "widths": [6, 8, 10], "classes": 5}),
    "efficientnet": (
        "efficientnet",
        {"stages": [(8, 1, 3, 1, 1), (8, 2, 5, 2, 2)], "head": 12, "classes": 5},
    ),
    "mobilenet": (
        "mobilenet",
        {
            "stages": [
                (3, 6, 4, True, False, 2),
                (3, 7, 4, False, False, 1),
                (5, 4, 6, True, True, 1),
            ],
            "stem": 6,
            "head": 7,
            "hidden": 8,
            "classes": 5,
        },
    ),
    "vit": (
        "vit",
        {"size": 8, "patch": 4, "D": 12, "layers": 2, "heads": 3, "classes": 5, "drop": 0.1},
    ),
    "tagger": ("tagger", {"vocab": 23, "width": 6, "hidden": 5, "tags": 4}),
    "sentiment": ("sentiment", {"vocab": 23, "width": 6, "hidden": 5, "drop": 0.1}),
    "bert": ("bert", {"vocab": 23, "length": 16, "D": 12, "layers": 2, "heads": 3}),
    "dlrm": (
        "dlrm",
        {"numbers": 4, "categories": 3, "rows": 17, "width": 5, "bottom": [7], "top": [6, 4]},
    ),
    "vae": ("vae", {"size": 8, "latent": 3, "width": 2}),
    "wavenet": ("wavenet", {"classes": 7, "width": 3, "layers": 4, "cycle": 2}),
    "moe": (
        "moe",
        {"vocab": 11, "length": 16, "D": 8, "layers": 2, "heads": 2, "experts": 3, "hidden": 6},
    ),
    "llama": (
        "llama",
        {"vocab": 11, "D": 8, "layers": 2, "heads": 4, "groups": 2, "K": 4, "hidden": 6},
    ),
    "t5": (
        "t5",
        {"vocab": 11, "D": 6, "layers": 2, "heads": 2, "K": 4, "hidden": 7, "drop": 0.1},
    ),
    "swin": (
        "swin",
        {
            "size": 8,
            "depths": [1, 2],
            "heads": [1, 2],
            "patch": 1,
            "width": 4,
            "window": 2,
            "classes": 5,
        },
    ),
    "diffusion": ("diffusion", {"width": 4, "heads": 2, "groups": 2}),
    "resnet18": ("resnet", {"depth": 18, "classes": 10}),
    "resnet50": ("resnet", {"depth": 50, "classes": 10}),
}
"""Name -> the example's file, and the hyper-parameters that make it small."""


NARROW: dict[str, tuple[tuple[str, str], ...]] = {
    "resnet": (("conv(64, 7", "conv(4, 7"), ("[64, 128, 256, 512]", "[4, 5, 6, 7]")),
}
"""File -> what stands in the place of what, where no hyper-parameter makes a model small."""


def load(name: str) -> Graph:
    """The graph of an example."""
    file, config = CONFIG[name]
    return mlc.load(EXAMPLES / f"{file}.mdl", **config)


def small(name: str) -> Graph:
    """The graph of an example that is run hundreds of times: with few channels where `load` has
    hundreds."""
    file, config = CONFIG[name]
    source = (EXAMPLES / f"{file}.mdl").read_text()
    for old, new in NARROW.get(file, ()):
        assert old in source
        source = source.replace(old, new)
    return mlc.load(source, **config)
