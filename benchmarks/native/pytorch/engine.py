"""Calls of PyTorch models, and how many operations their graphs have (torch.fx, of ATen ops)."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.fx.experimental.proxy_tensor import make_fx

torch.set_num_threads(1)


def build(module: Any, config: dict[str, int], weights: dict[str, np.ndarray]) -> torch.nn.Module:
    del weights
    return module.build(**config)


def give(model: torch.nn.Module, other: torch.nn.Module) -> None:
    """Copies the weights of one model to another, which has the same in the same order."""
    ours, theirs = model.state_dict(), other.state_dict()
    found = zip(theirs, ours.values(), strict=True)
    other.load_state_dict(dict(found))


def calls(model: torch.nn.Module, given: np.ndarray) -> dict[str, Callable[[], Any]]:
    """The forward pass in inference mode, and gradients of the weights in training mode."""
    x = torch.from_numpy(given)
    parameters = [p for p in model.parameters() if p.requires_grad]

    def forward() -> torch.Tensor:
        model.eval()
        with torch.no_grad():
            return model(x)

    def gradient() -> tuple[torch.Tensor, ...]:
        model.train()
        return torch.autograd.grad(model(x).square().mean(), parameters)

    return {"forward": forward, "gradient": gradient}


def output(model: torch.nn.Module, given: np.ndarray) -> np.ndarray:
    return calls(model, given)["forward"]().numpy()


def operations(model: torch.nn.Module, given: np.ndarray) -> dict[str, int]:
    return {
        name: sum(node.op == "call_function" for node in make_fx(call)().graph.nodes)
        for name, call in calls(model, given).items()
    }
