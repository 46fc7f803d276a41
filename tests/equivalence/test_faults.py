"""Faults planted in handwritten PyTorch files: verify sees each, and says where."""

from pathlib import Path

import pytest

import mlc
from mlc.equivalence import verify
from mlc.equivalence.compare import LIMIT
from mlc.equivalence.engines.pool import Pool
from tests.handwritten.folders import CONFIG, folder

EXAMPLES = Path(__file__).parents[2] / "examples"
STRIDED = "nn.Conv2d(C, width, 3, stride=stride, padding=1, bias=False)"
LOAD = "model.load_state_dict(load_file(weights))"

FAULTS: dict[str, tuple[str, str, str]] = {
    "tanh gelu": ("gpt", "F.gelu(self.linear1(self.layer_norm2(h)))",
                  'F.gelu(self.linear1(self.layer_norm2(h)), approximate="tanh")'),
    "causal dropped": ("gpt", "is_causal=True", "is_causal=False"),
    "scale of attention": ("gpt", "(q, k, v, is_causal=True)", "(q * 1.01, k, v, is_causal=True)"),
    "eps of layer norm": ("gpt", "self.layer_norm1 = nn.LayerNorm(D, eps=1e-5)",
                          "self.layer_norm1 = nn.LayerNorm(D, eps=1.2e-5)"),
    "untied": ("gpt", "self.layer_norm(h), self.token.weight",
               "self.layer_norm(h), self.token.weight.detach()"),
    "position off by one": ("gpt", "self.position[: ids.shape[1]]",
                            "self.position[1 : ids.shape[1] + 1]"),
    "square weight transposed": ("gpt", LOAD, "tensors = load_file(weights); "
                                 "key = 'layers.1.attention.value.weight'; "
                                 "tensors[key] = tensors[key].T.contiguous(); "
                                 "model.load_state_dict(tensors)"),
    "bias dropped": ("gpt", "return self.output(y.transpose(1, 2).flatten(-2))",
                     "return F.linear(y.transpose(1, 2).flatten(-2), self.output.weight)"),
    "one wrong element": ("gpt", LOAD, LOAD + "; "
                          "model.position.data[3, 5] *= 1.1"),
    "pad side": ("tiny_resnet", STRIDED,
                 "nn.Conv2d(C, width, 3, stride=stride, bias=False); "
                 "pad = nn.ZeroPad2d((2, 0, 1, 1)); "
                 "self.conv1.register_forward_pre_hook(lambda module, args: pad(args[0]))"),
    "eps of batch norm": ("tiny_resnet", "self.batch_norm = nn.BatchNorm2d(16, eps=1e-5",
                          "self.batch_norm = nn.BatchNorm2d(16, eps=1.2e-5"),
    "momentum": ("tiny_resnet", "self.batch_norm = nn.BatchNorm2d(16, eps=1e-5, momentum=0.1)",
                 "self.batch_norm = nn.BatchNorm2d(16, eps=1e-5, momentum=0.11)"),
    "frozen statistics": ("tiny_resnet", "h = self.blocks(h)",
                          "self.blocks[1].batch_norm1.eval(); h = self.blocks(h)"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_seen(pool: Pool, tmp_path: Path, fault: str) -> None:
    name, *edit = FAULTS[fault]
    graph = mlc.load(EXAMPLES / f"{name}.mdl", **CONFIG[name])
    place = folder(name, "pytorch", graph.weights, tmp_path, (edit[0], edit[1]))
    mode = "inference" if name == "gpt" else "training"
    pool.start(["pytorch"])
    report = verify(graph, {"pytorch": place}, pool=pool, sizes=1, modes=[mode])
    assert report.exit_code == 1
    worst = report.faults[0]
    assert worst.verdict == "different"
    assert worst.ratio > 10 * LIMIT, f"{worst.key}: {worst.ratio:.3g}"
