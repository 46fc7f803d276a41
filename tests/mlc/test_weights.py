"""`mlc weights convert`: trained weights go from framework to framework, and nothing is lost."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import mlc as package
from mlc.backends.artefact import read_interface
from mlc.compiler.tensor import write
from mlc.equivalence.engines.pool import ENVIRONMENT
from mlc.equivalence.feeds import seeded, weights

NET = """model Net(vocab = 7, D = 6, drop = 0.5):
    in  image: f32[B, 3, H = 6, W = 6]
    in  ids: i32[B, T = 9]
    out logits: f32[B, T, vocab]

    token = embedding(vocab, D)
    h = image -> conv(4, 3, pad = 1, bias = false) -> batch_norm -> prelu
              -> conv(8, 3, pad = 1, groups = 4) -> conv_transpose(4, 2, stride = 2) -> relu
              -> dropout(drop) -> flatten -> linear(9 * D)
    h = token(ids) + reshape(h, [B, T, D])
    h = h + (h -> layer_norm -> attention(2, causal = true))
    logits = (h -> rms_norm) @ transpose(token.weight)
"""

SMALL = """model Small(width = 3):
    in  x: f32[B, 2]
    out y: f32[B, width]

    y = x -> linear(width) -> batch_norm
"""

# ------------------------------------------------------------------- training, one after the other

PYTORCH = """
import sys, numpy as np, torch
from safetensors.torch import save_file
sys.path.insert(0, '.')
from net_pytorch import build
image, ids = (torch.from_numpy(np.load(f'pytorch_{name}.npy')) for name in ('image', 'ids'))
model = build(sys.argv[1] if len(sys.argv) > 1 else None)
with torch.no_grad():
    np.save('pytorch_before.npy', model.eval()(image, ids).numpy())
step = torch.optim.SGD(model.parameters(), lr=0.1)
model.train()(image, ids).square().mean().backward()
step.step()
save_file({key: x.clone() for key, x in model.state_dict().items()}, 'pytorch.safetensors')
with torch.no_grad():
    np.save('pytorch_after.npy', model.eval()(image, ids).numpy())
"""

KERAS = """
import sys, numpy as np, tensorflow as tf
from safetensors.numpy import save_file
sys.path.insert(0, '.')
from net_keras import build
x = [tf.constant(np.load(f'keras_{name}.npy')) for name in ('image', 'ids')]
model = build(sys.argv[1])
np.save('keras_before.npy', model(x, training=False))
with tf.GradientTape() as tape:
    loss = tf.reduce_mean(model(x, training=True) ** 2)
variables = model.trainable_variables
for variable, gradient in zip(variables, tape.gradient(loss, [v.value for v in variables])):
    variable.assign(variable - 0.1 * gradient)
save_file({v.path: np.array(v) for v in model.variables}, 'keras.safetensors')
np.save('keras_after.npy', model(x, training=False))
"""

JAX = """
import sys, numpy as np, jax.numpy as jnp
from flax import nnx
from safetensors.flax import save_file
sys.path.insert(0, '.')
from net_jax import build
image, ids = (jnp.asarray(np.load(f'jax_{name}.npy')) for name in ('image', 'ids'))
model = build(sys.argv[1])
model.eval()
np.save('jax_before.npy', model(image, ids))
model.train()
gradient = nnx.grad(lambda model: jnp.mean(model(image, ids) ** 2))(model)
parameters = nnx.state(model, nnx.Param)
nnx.update(model, nnx.map_state(lambda path, v: v.replace(
    v[...] - 0.1 * dict(nnx.to_flat_state(gradient))[path][...]), parameters))
state = nnx.state(model, (nnx.Param, nnx.BatchStat))
save_file({'.'.join(map(str, p)): v[...] for p, v in nnx.to_flat_state(state)}, 'jax.safetensors')
model.eval()
np.save('jax_after.npy', model(image, ids))
"""


def _run(code: str, cwd: Path, *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=cwd, env={**os.environ, **ENVIRONMENT}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]


def _feed(folder: Path, target: str, arrays: dict[str, np.ndarray]) -> None:
    """Writes the inputs as a target's file takes them."""
    interface, _ = read_interface(folder / f"net_{target}")
    for port in interface.inputs:
        array = arrays[port.name]
        moved = array if port.order is None else np.transpose(array, port.order)
        np.save(folder / f"{target}_{port.name}.npy", np.ascontiguousarray(moved))


def test_training_goes_on_in_another_framework(mlc, tmp_path: Path) -> None:
    """A step in PyTorch, then in Keras, then in JAX, and back in PyTorch: each sees what was left.

    The folders take the model's place in one conversion, and states of random generators and
    counters of batches are in the files.
    """
    (tmp_path / "net.mdl").write_text(NET)
    assert mlc("compile", "net.mdl", "-t", "pytorch,keras,jax").code == 0
    draw = np.random.default_rng(3)
    arrays = {
        "image": draw.normal(size=(4, 3, 6, 6)).astype("f4"),
        "ids": draw.integers(0, 7, (4, 9)).astype("i4"),
    }
    for target in ("pytorch", "keras", "jax"):
        _feed(tmp_path, target, arrays)
    _run(PYTORCH, tmp_path)
    steps = [("pytorch", "keras", KERAS), ("keras", "jax", JAX), ("jax", "pytorch", PYTORCH)]
    for before, after, code in steps:
        sides = (f"net_{before}", f"net_{after}") if after == "jax" else (before, after)
        model = () if after == "jax" else ("net.mdl",)
        done = mlc(
            "weights", "convert", *model, f"{before}.safetensors", "--from", sides[0],
            "--to", sides[1], "-o", "converted.safetensors",
        )  # fmt: skip
        assert (done.code, done.err) == (0, "")
        old = np.load(tmp_path / f"{before}_after.npy")
        _run(code, tmp_path, "converted.safetensors")
        new = np.load(tmp_path / f"{after}_before.npy")
        assert np.abs(old - np.load(tmp_path / f"{after}_after.npy")).max() > 1e-3
        assert np.abs(old - new).max() < 2e-6 * np.abs(old).max() + 1e-6


# ------------------------------------------------------------------------------- every way, exactly


@pytest.mark.parametrize("name", ["net", "gpt", "tiny_resnet"])
def test_there_and_back_is_the_same_file(tmp_path: Path, name: str) -> None:
    """Through every target and back, bit for bit."""
    from mlc.weights import convert, side

    example = Path(__file__).parents[2] / "examples" / f"{name}.mdl"
    small = {"vocab": 11, "D": 12, "layers": 2, "heads": 3} if name == "gpt" else {}
    graph = package.load(NET if name == "net" else example, **small)
    start = tmp_path / "start"
    write(start, weights(graph, seeded(1)))
    sides = [side(s, graph) for s in ("source", "keras", "jax", "openvino", "onnx", "pytorch")]
    file = start
    for before, after in zip(sides, [*sides[1:], sides[0]], strict=True):
        convert(file, before, after, tmp_path / f"{sides.index(after)}")
        file = tmp_path / f"{sides.index(after)}"
    assert file.read_bytes() == start.read_bytes()
    assert load_file(tmp_path / "1").keys() != load_file(tmp_path / "5").keys()


# -------------------------------------------------------------------------------------- its manners

GOOD = {
    "linear.weight": np.ones((3, 2), np.float32),
    "linear.bias": np.ones(3, np.float32),
    "batch_norm.weight": np.ones(3, np.float32),
    "batch_norm.bias": np.ones(3, np.float32),
    "batch_norm.running_mean": np.ones(3, np.float32),
    "batch_norm.running_var": np.ones(3, np.float32),
    "batch_norm.num_batches_tracked": np.int64(3)[...],
}


def _convert(mlc, *arguments: str, output: str = "out"):
    return mlc("weights", "convert", *arguments, "-o", output)


@pytest.mark.parametrize(
    ("changes", "code", "said"),
    [
        ({"linear.wieght": GOOD["linear.bias"]}, "weights-key", "no such weight"),
        ({"linear.bias": np.ones(4, np.float32)}, "weights-shape",
         "FILE has [4], the pytorch model wants [3]"),
        ({"linear.bias": np.ones(3)}, "weights-dtype",
         "FILE has f64, the pytorch model wants f32"),
        ({"linear.bias": np.ones(3, np.uint32)}, "weights-dtype", "FILE has u32"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named_and_nothing_is_written(
    mlc, tmp_path: Path, changes: dict[str, np.ndarray], code: str, said: str
) -> None:
    (tmp_path / "net.mdl").write_text(SMALL)
    save_file({**GOOD, **changes}, tmp_path / "FILE")
    done = _convert(mlc, "net.mdl", "FILE", "--from", "pytorch", "--to", "keras")
    assert done.code == 2
    assert done.err.startswith(f"error[{code}]: ")
    assert said in done.err
    assert {p.name for p in tmp_path.iterdir()} == {"net.mdl", "FILE"}


def test_a_missing_tensor_names_the_nearest(mlc, tmp_path: Path) -> None:
    (tmp_path / "net.mdl").write_text(SMALL)
    wrong = {key.replace("linear.bias", "linear.bais"): x for key, x in GOOD.items()}
    save_file(wrong, tmp_path / "FILE")
    done = _convert(mlc, "net.mdl", "FILE", "--from", "pytorch", "--to", "keras")
    assert "FILE has no tensor 'linear.bias' for the pytorch model's weight" in done.err
    assert "= help: the file has 'linear.bais'" in done.err


def test_sides_that_are_exchanged_are_noticed(mlc, tmp_path: Path) -> None:
    (tmp_path / "net.mdl").write_text(SMALL)
    save_file(GOOD, tmp_path / "FILE")
    done = _convert(mlc, "net.mdl", "FILE", "--from", "keras", "--to", "pytorch")
    assert done.err == (
        "error[weights-key]: FILE has the names of the pytorch model, not those of the keras"
        " model\n  = help: exchange --from and --to\n"
    )


def test_folders_of_two_models_do_not_fit(mlc, tmp_path: Path) -> None:
    (tmp_path / "net.mdl").write_text(SMALL)
    save_file(GOOD, tmp_path / "FILE")
    assert mlc("compile", "net.mdl", "-t", "pytorch").code == 0
    assert mlc("compile", "net.mdl", "-t", "keras", "--set", "width=4").code == 0
    done = _convert(mlc, "FILE", "--from", "net_pytorch", "--to", "net_keras")
    assert done.code == 2
    assert "net_pytorch has [3, 2], net_keras wants [4, 2]" in done.err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["FILE", "--from", "pytorch", "--to", "keras"], "usage", "depend on the model"),
        (["net.mdl", "FILE", "--from", "torch", "--to", "keras"], "target", "'torch' is no target"),
        (["net.mdl", "FILE", "--from", "source"], "usage", "required: --to"),
        (["net.mdl", "none", "--from", "source", "--to", "keras"], "weights-file", "none: No such"),
        (["net.mdl", "FILE", "--from", "source", "--to", "."], "output", "no folder that mlc"),
    ],
)
def test_bad_usage(mlc, tmp_path: Path, arguments: list[str], code: str, said: str) -> None:
    (tmp_path / "net.mdl").write_text(SMALL)
    save_file(GOOD, tmp_path / "FILE")
    done = _convert(mlc, *arguments)
    assert done.code == 2
    assert done.err.startswith(f"error[{code}]: ")
    assert said in done.err


def test_only_files_of_tensors_are_replaced(mlc, tmp_path: Path) -> None:
    (tmp_path / "net.mdl").write_text(SMALL)
    save_file(GOOD, tmp_path / "FILE")
    arguments = ("net.mdl", "FILE", "--from", "pytorch", "--to", "source")
    done = _convert(mlc, *arguments, output="net.mdl")
    assert done.err.startswith("error[output]: net.mdl is there already, and no file of tensors")
    assert (tmp_path / "net.mdl").read_text() == SMALL
    assert _convert(mlc, *arguments, output="none/out").err.startswith(
        "error[output]: cannot write"
    )
    for _ in range(2):
        assert _convert(mlc, *arguments, output="FILE").out == "wrote 6 tensors to FILE\n"
    assert load_file(tmp_path / "FILE").keys() == GOOD.keys() - {"batch_norm.num_batches_tracked"}


LARGE = """model Large(width = 1024):
    in  x: f32[B, width]
    out y: f32[B, width]

    h = x
    repeat 40:
        h = h -> linear(width)
    y = h
"""


def test_a_file_passes_through_little_memory(mlc, tmp_path: Path) -> None:
    """160 MB through an address space that has no room for a third of them."""
    (tmp_path / "net.mdl").write_text(LARGE)
    assert mlc("compile", "net.mdl", "-t", "pytorch,keras").code == 0
    square, row = np.ones((1024, 1024), np.float32), np.ones(1024, np.float32)
    tensors = {f"layers.{i}.weight": square for i in range(40)}
    write(tmp_path / "in", tensors | {f"layers.{i}.bias": row for i in range(40)})
    code = (
        "import resource, sys; sys.path.insert(0, sys.argv.pop(1)); import numpy; "
        "size = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize(); "
        "resource.setrlimit(resource.RLIMIT_AS, (size + 50_000_000,) * 2); "
        "from mlc.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    arguments = ("weights", "convert", "in", "--from", "net_pytorch", "--to", "net_keras")
    _run(code, tmp_path, str(Path(__file__).parents[2]), *arguments, "-o", "out")
    assert (tmp_path / "out").stat().st_size > 160_000_000
