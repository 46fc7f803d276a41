"""The PyTorch engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from . import package
from .dropout import observe
from .noise import Given, recording, replaced
from .pool import THREADS
from .protocol import Draw, Drop, Job, Result, Settings

_models: dict[tuple[str, str], tuple[nn.Module, dict[str, torch.Tensor]]] = {}


def settings() -> Settings:
    """Pins threads and precision: IEEE f32 throughout, no TF32."""
    torch.set_num_threads(THREADS)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.use_deterministic_algorithms(True)
    return Settings({"torch": torch.__version__}, "cpu", "f32", THREADS)


def run(job: Job) -> Result:
    """Runs one job; see `protocol`."""
    model = _model(job)
    model.train(job.training)
    feeds = {name: torch.from_numpy(np.array(array)) for name, array in job.feeds.items()}
    if job.watch:
        draws: list[Draw] = []
        with replaced(torch, DRAWING, recording(draws)):
            drops = _watch(model, job, feeds)
        return Result({}, drops=tuple(drops), draws=tuple(draws))
    if job.trace:
        with _no_dropout(), _given(job), torch.no_grad():
            return Result({}, trace=_trace(model, job, feeds))
    wanted = {name: x for name, x in feeds.items() if job.cotangents and x.is_floating_point()}
    for x in wanted.values():
        x.requires_grad_(True)
    parameters = dict(model.named_parameters()) if job.cotangents else {}
    with _no_dropout(), _given(job), torch.set_grad_enabled(bool(job.cotangents)):
        outputs = _call(model, job, feeds)
    updates = {name: _array(x) for name, x in model.named_buffers()}
    leaves = {**wanted, **parameters}
    found = _gradients(outputs, job, list(leaves.values())) if leaves else []
    return Result(
        {name: _array(y) for name, y in outputs.items()},
        dict(zip(wanted, found[: len(wanted)], strict=True)),
        dict(zip(parameters, found[len(wanted) :], strict=True)),
        updates,
    )


def _model(job: Job) -> nn.Module:
    """The model with the job's weights and buffers, whatever earlier runs made of them."""
    key = (package.digest(job.folder), job.weights)
    if key not in _models:
        _models.clear()
        model = package.load(job.folder).build(weights=job.weights)
        _models[key] = model, {name: x.clone() for name, x in model.state_dict().items()}
    model, state = _models[key]
    model.load_state_dict(state)
    return model


def _call(model: nn.Module, job: Job, feeds: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    args = [feeds.get(name) for name in job.inputs]
    while args and args[-1] is None:
        args.pop()
    result = model(*args)
    if isinstance(result, dict):
        return {name: result[name] for name in job.outputs}
    several = result if isinstance(result, (tuple, list)) else (result,)
    return dict(zip(job.outputs, several, strict=True))


def _gradients(outputs: Any, job: Job, leaves: list[torch.Tensor]) -> list[Any]:
    """The gradients of sum(output * cotangent); zeros for a leaf that no output depends on."""
    loss: Any = torch.zeros(())
    for name, cotangent in job.cotangents.items():
        loss = loss + (outputs[name] * torch.from_numpy(np.array(cotangent))).sum()
    if not loss.requires_grad:
        return [_array(torch.zeros_like(x)) for x in leaves]
    found = torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True)
    return [_array(gradient) for gradient in found]


def _array(x: torch.Tensor) -> Any:
    return x.detach().numpy().copy()


DRAWING = {"randn": "normal", "rand": "uniform"}
"""The functions of torch that draw noise."""


@contextmanager
def _given(job: Job) -> Iterator[None]:
    """Within this context one call draws the job's noise."""
    given = Given(job.noise)

    def wrap(distribution: str, _: Any) -> Any:
        def draw(*size: Any, **options: Any) -> torch.Tensor:
            shape = size if all(isinstance(n, int) for n in size) else size[0]
            return torch.from_numpy(np.array(given(distribution, shape)))

        return draw

    with replaced(torch, DRAWING, wrap):
        yield
    given.finish()


_DROPPING = ("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout")


@contextmanager
def _no_dropout() -> Iterator[None]:
    """Within this context nothing is dropped, by a module or by a function.

    An attribute called `p` may be anything in a model: only the functions are told apart.
    """
    attend = F.scaled_dot_product_attention
    kept = {name: getattr(F, name) for name in _DROPPING} | {attend.__name__: attend}

    def whole(x: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        return x

    def undropped(q: Any, k: Any, v: Any, *args: Any, **options: Any) -> Any:
        mask, _, *rest = (*args, None, None)[: max(2, len(args))]
        return attend(q, k, v, options.pop("attn_mask", mask), 0.0, *rest,
                      **{n: x for n, x in options.items() if n != "dropout_p"})  # fmt: skip

    for name in kept:
        setattr(F, name, undropped if kept[name] is attend else whole)
    try:
        yield
    finally:
        for name, function in kept.items():
            setattr(F, name, function)


def _watch(model: nn.Module, job: Job, feeds: dict[str, torch.Tensor]) -> list[Drop]:
    """What the dropout modules do in two calls."""
    drops: list[Drop] = []
    hooks = []
    for name, module in model.named_modules():
        if type(module) in (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d):

            def record(module: Any, args: Any, y: torch.Tensor, name: str = name) -> None:
                shared = () if type(module) is nn.Dropout else range(2, y.ndim)
                drops.append(observe(name, module.p, _array(args[0]), _array(y), shared))

            hooks.append(module.register_forward_hook(record))
    try:
        with torch.no_grad():
            for _ in range(2):
                _call(model, job, feeds)
    finally:
        for hook in hooks:
            hook.remove()
    return drops


def _trace(model: nn.Module, job: Job, feeds: dict[str, torch.Tensor]) -> dict[str, list[Any]]:
    """What each call of the job's modules gives."""
    found: dict[str, list[Any]] = {}
    hooks = []
    for name, module in model.named_modules():
        if name in job.trace:

            def record(module: Any, args: Any, y: Any, name: str = name) -> None:
                found.setdefault(name, []).append(_array(y[0] if isinstance(y, tuple) else y))

            hooks.append(module.register_forward_hook(record))
    try:
        _call(model, job, feeds)
    finally:
        for hook in hooks:
            hook.remove()
    return found
