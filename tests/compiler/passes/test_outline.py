"""Outline gives back the classes, arguments, branches and loops that the source had."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest

from mlc.compiler import expr
from mlc.compiler.clone import clone
from mlc.compiler.diagnose import MlcError
from mlc.compiler.graph import Graph, Node
from mlc.compiler.passes import CLEAN, apply
from mlc.compiler.passes.algebra import algebra
from mlc.compiler.passes.expand import expand
from mlc.compiler.passes.outline import outline
from mlc.compiler.program import (
    Apply,
    Call,
    Chain,
    Class,
    Element,
    If,
    Program,
    Repeat,
    Whole,
    walk,
)
from mlc.frontends.mdl import load

RESIDUAL = """
block Residual(width, stride = 1):
    in  x: f32[B, C, H, W]
    out y: f32[B, width, ceil(H / stride), ceil(W / stride)]
    main = x -> conv(width, 3, stride = stride, pad = 1) -> batch_norm -> relu
             -> conv(width, 3, pad = 1)
    skip = x if C == width and stride == 1 else x -> conv(width, 1, stride = stride) -> batch_norm
    y = relu(main + skip)
"""

NET = (
    RESIDUAL
    + """
model Net(classes = 10):
    in  image: f32[B, 3, H, W]
    out logits: f32[B, classes]
    h = image -> conv(16, 3, pad = 1)
    for width, stride in [(16, 1), (32, 2), (64, 2)]:
        h = h -> Residual(width, stride = stride) -> Residual(width)
    logits = h -> mean(H, W) -> linear(classes)
"""
)


def program(text: str, **params: Any) -> Program:
    graph, _ = clone(load(text, params=params))
    apply(graph, CLEAN)
    return outline(graph)


def classes(text: str, **params: Any) -> dict[str, Class]:
    return {cls.name: cls for cls in program(text, **params).classes}


def found(cls: Class, kind: type) -> list[Any]:
    return [s for s in walk(cls.body) if isinstance(s, kind)]


def arguments(call: Call) -> dict[str, str]:
    given = {**call.sizes, **call.args}
    return {name: expr.show(value) for name, value in given.items()}


def test_a_block_is_one_class_for_all_its_instances() -> None:
    made = classes(NET)
    assert list(made) == ["Residual", "Net"]
    residual = made["Residual"]
    assert len(residual.scopes) == 6
    assert [p.name for p in residual.params] == ["width", "stride"]
    assert residual.needs == ["C"]
    assert str(residual.outputs["y"].type.shape) == (
        "(B, width, (H - 1) // stride + 1, (W - 1) // stride + 1)"
    )


def test_attributes_keep_the_expressions_of_the_source() -> None:
    convs = [s for s in found(classes(NET)["Residual"], Apply) if s.op.name == "conv"]
    shown = [(expr.show(c.attrs["features"]), expr.show(c.attrs["stride"])) for c in convs]
    assert shown == [("width", "stride"), ("width", "1"), ("width", "stride")]


def test_a_branch_that_not_all_instances_take_is_optional() -> None:
    (branch,) = found(classes(NET)["Residual"], If)
    assert expr.show(branch.condition) == "C == width and stride == 1"
    assert isinstance(branch.optional, Chain)
    assert branch.optional.member.name == "skip"
    assert branch.phis[0].result.name == "skip"


def test_a_loop_keeps_its_table_and_the_sizes_that_run_along() -> None:
    (loop,) = found(classes(NET)["Net"], Repeat)
    assert loop.chain == "blocks"
    assert expr.show(loop.table) == "[(16, 1), (32, 2), (64, 2)]"
    calls = [s for s in loop.body if isinstance(s, Call)]
    assert [arguments(c) for c in calls] == [
        {"C": "C", "width": "width", "stride": "stride"},
        {"C": "width", "width": "width"},
    ]
    (size,) = [s for s in loop.sizes if s.name == "C"]
    assert size.update is not None
    assert (expr.show(size.start), expr.show(size.update)) == ("16", "width")


def test_the_size_behind_a_loop_is_what_it_ran_to() -> None:
    net = classes(NET)["Net"]
    (linear,) = [s for s in found(net, Apply) if s.op.name == "linear"]
    assert str(linear.weights["weight"]) == "f32[classes, C]"


def test_a_loop_that_ran_once_is_still_a_loop() -> None:
    text = NET.replace("[(16, 1), (32, 2), (64, 2)]", "[(32, 2)]")
    (loop,) = found(classes(text)["Net"], Repeat)
    assert len(loop.carried) == 1


LOOPS = """
block Layer(width):
    in  x: f32[B, D]
    out y: f32[B, width]
    y = x -> linear(width) -> relu
model Net(layers = 3):
    in  x: f32[B, 8]
    out y: f32[B, 8]
    h = x
    repeat layers:
        {body}
    y = h
"""


@pytest.mark.parametrize(
    ("body", "chain"),
    [
        ("h = h -> Layer(8)", "layers"),
        ("h = h + (h -> Layer(8))", None),
        ("h = h -> Layer(16) -> Layer(8)", "layers"),
    ],
)
def test_a_loop_is_a_chain_where_each_member_takes_the_former_output(
    body: str, chain: str | None
) -> None:
    (loop,) = found(classes(LOOPS.format(body=body))["Net"], Repeat)
    assert loop.chain == chain
    assert expr.show(loop.table) == "layers"


def test_iterations_that_differ_are_written_out() -> None:
    text = """
model Net():
    in  x: f32[B, 8]
    out y: f32[B, 8]
    xs = [x]
    for i in range(3):
        xs += [xs[i] + xs[0] -> linear(8)]
    y = xs[3]
"""
    net = classes(text)["Net"]
    assert not found(net, Repeat)
    assert [s.member.name for s in found(net, Apply) if s.op.name == "linear"] == [
        "layers_0", "layers_1", "layers_2",
    ]  # fmt: skip


def test_instances_that_no_expression_reconciles_become_two_classes() -> None:
    text = """
block Act(kind):
    in  x: f32[B, D]
    out y: like x
    y = relu(x) if kind == 1 else sigmoid(x)
model Net():
    in  x: f32[B, 4]
    out y: f32[B, 4]
    y = x -> Act(1) -> Act(2)
"""
    made = classes(text)
    (branch,) = found(made["Act"], If)
    assert len(branch.then) == len(branch.orelse) == 1


def test_an_arm_that_nobody_took_freezes_what_decides_it() -> None:
    text = """
model Net(deep = true, width = 4):
    in  x: f32[B, 4]
    out y: f32[B, width]
    h = x -> linear(width)
    if deep:
        h = h -> linear(width)
    y = h
"""
    net = classes(text)["Net"]
    assert [p.name for p in net.params] == ["width"]
    assert not found(net, If)


def test_behind_an_if_every_statement_reads_what_it_chose() -> None:
    text = """
block Mix(norm = true, act = 1):
    in  x: f32[B, D]
    out y: like x
    h = x -> linear(D)
    if norm:
        h = h -> layer_norm
    if act == 1:
        h = relu(h)
    else:
        g = h -> linear(D)
        h = silu(h) * g
    y = h
model Net():
    in  x: f32[B, 4]
    out y: f32[B, 4]
    y = x -> Mix -> Mix(norm = false) -> Mix(act = 2)
"""
    mix = classes(text)["Mix"]
    first, second = found(mix, If)
    chosen = first.phis[0].result
    read = [v for s in walk([*second.then, *second.orelse]) for v in s.inputs if v is not None]
    assert read.count(chosen) == 3
    assert mix.outputs["y"] is second.phis[0].result


def test_a_choice_between_blocks_freezes_what_decides_it() -> None:
    text = """
block A(width):
    in  x: f32[B, D]
    out y: f32[B, width]
    y = x -> linear(width)
block C(width):
    in  x: f32[B, D]
    out y: f32[B, width]
    y = x -> linear(width) -> relu
model Net(depth = 18, width = 4):
    in  x: f32[B, 4]
    out y: f32[B, 4]
    require depth in [18, 50], "no net of {depth}"
    Unit = A if depth < 50 else C
    counts = [2, 2] if depth == 18 else [3, 4]
    h = x
    for count in counts:
        h = h -> Unit(width)
        repeat count:
            h = h -> Unit(width)
    y = h
"""
    net = classes(text)["Net"]
    assert [p.name for p in net.params] == ["width"]
    assert not net.checks
    assert expr.show(found(net, Repeat)[0].table) == "[2, 2]"


def test_a_shared_block_is_constructed_once() -> None:
    text = """
block Tower(width):
    in  x: f32[B, D]
    out y: f32[B, width]
    y = x -> linear(width)
model Net():
    in  a: f32[B, 6]
    in  b: f32[B, 6]
    out y: f32[B, 3]
    tower = Tower(3)
    y = tower(a) + tower(b)
"""
    calls = found(classes(text)["Net"], Call)
    assert [c.first for c in calls] == [True, False]
    assert {c.member.name for c in calls} == {"tower"}


def test_the_order_of_independent_nodes_does_not_matter() -> None:
    graph, _ = clone(load(NET))
    shown = [shape(c) for c in outline(graph).classes]
    _shuffle(graph, random.Random(1))
    assert [shape(c) for c in outline(graph).classes] == shown


def shape(cls: Class) -> list[str]:
    """The statements in outline: kinds, members and arguments."""
    lines = [cls.name, *(p.name for p in cls.params)]
    for s in walk(cls.body):
        what = s.op.name if isinstance(s, Apply) else type(s).__name__
        member = getattr(s, "member", None)
        lines.append(f"{what} {member.name if member else ''}")
    return lines


def _shuffle(graph: Graph, source: random.Random) -> None:
    """Moves nodes forward as far as their inputs allow, at random."""
    for node in list(graph):
        before = [n for n in graph if n is not node]
        before = before[: sum(1 for _ in _until(graph, node))]
        first = max(
            (before.index(v.node) + 1 for v in node.values if v.node is not None), default=0
        )
        target = source.randint(first, len(before))
        if target == len(before):
            continue
        node.prev.next, node.next.prev = node.next, node.prev
        graph._size -= 1
        graph.insert_before(node, before[target])


def _until(graph: Graph, node: Node) -> Iterator[Node]:
    for each in graph:
        if each is node:
            return
        yield each


EXPERTS = """
model Experts(count = 3, width = 4):
    in  x: f32[B, D = 4]
    out y: f32[B, D]
    out z: f32[B, 2 * D]
    found = []
    repeat count as experts:
        found += [x -> linear(width)]
    y = sum(stack(found, axis = 1), axes = [1]) -> linear(D)
    z = concat({joined}, axis = 1) -> linear(2 * D)
"""


def join(text: str, name: str) -> tuple[Apply, set[str]]:
    """The op of that name, and the hyper-parameters that are offered."""
    (cls,) = program(text).classes
    (made,) = (s for s in found(cls, Apply) if s.op.name == name)
    return made, {hyper.name for hyper in cls.params}


def test_an_op_takes_a_list_whole() -> None:
    text = EXPERTS.replace("{joined}", "x, found, x")
    for name, size in (("stack", "count"), ("concat", "count * width + 8")):
        made, offered = join(text, name)
        assert sum(isinstance(var, Whole) for var in made.inputs) == 1
        assert len(made.inputs) == (1 if name == "stack" else 3)
        assert str(made.outputs[0].type.shape[1]) == size
        assert offered == {"count", "width"}


@pytest.mark.parametrize("joined", ["found[0], found[1], found[2]", "one, two, three"])
def test_tensors_that_are_taken_from_a_list_one_by_one_are_no_list(joined: str) -> None:
    text = EXPERTS.replace("{joined}", joined)
    text = text.replace("    z =", "    one, two, three = found\n    z =")
    made, _ = join(text, "concat")
    places = [var.index for var in made.inputs if isinstance(var, Element)]
    assert places == [0, 1, 2]


def test_a_list_of_sizes_that_differ_is_joined_for_this_table_alone() -> None:
    text = """
model Net(widths = [2, 3, 5]):
    in  x: f32[B, D = 4]
    out y: f32[B, D]
    found = []
    for width in widths:
        found += [x -> linear(width)]
    y = concat(found, axis = 1) -> linear(D)
"""
    made, offered = join(text, "concat")
    assert str(made.outputs[0].type.shape[1]) == "10"
    assert offered == set()


LAYERS = (
    "block L(flag):\n    in x: f32[B, T, C]\n    out y: f32[B, T, C]\n"
    "    y, _ = x -> gru(4, {flag} = flag)\n    y = y -> linear(C)\n"
    "model M(flag = true):\n    in x: f32[B, T, 6]\n    out y: f32[B, T, 6]\n"
)


def test_layers_that_hold_other_weights_are_of_two_classes() -> None:
    text = LAYERS.format(flag="bias") + "    y = x -> L(true) -> L(flag) -> L(false)\n"
    *classes, model = outline(load(text)).classes
    assert [len(cls.scopes) for cls in classes] == [2, 1]
    assert [p.name for cls in classes for p in cls.params] == ["flag", "flag"]
    assert [p.name for p in model.params] == ["flag"]


def test_a_flag_that_shapes_depend_on_is_none_of_the_class() -> None:
    text = LAYERS.format(flag="bidirectional") + "    y = x -> L(flag) -> L(flag)\n"
    cls, model = outline(load(text)).classes
    assert (len(cls.scopes), cls.params, model.params) == (2, [], [])
    (recurrent,) = (s for s in cls.body if isinstance(s, Apply) and s.op.name == "gru")
    assert recurrent.values["bidirectional"] is True


def test_a_loop_of_what_gives_several_tensors_is_no_chain() -> None:
    text = (
        "model M(n = 2):\n    in x: f32[B, T, 4]\n    out y: f32[B, T, 4]\n    y = x\n"
        "    repeat n:\n        y, _ = y -> gru(4)\n"
    )
    (model,) = outline(load(text)).classes
    (loop,) = (s for s in model.body if isinstance(s, Repeat))
    assert loop.chain is None


def test_an_input_of_which_only_a_size_is_read_is_taken() -> None:
    text = """
block Rows(extra):
    in  x: f32[B, H, C]
    out y: i32[H + extra]
    y = iota(H + extra)

block Outer(extra):
    in  x: f32[B, H, C]
    out y: i32[H + extra]
    y = x -> Rows(extra)

model M(extra = 2):
    in  x: f32[B, H, 4]
    out y: i32[H + extra]
    y = x -> Outer(extra)
"""
    assert load(text).warnings == []
    made = classes(text)
    assert [list(made[name].inputs) for name in ("Rows", "Outer", "M")] == [["x"]] * 3
    with pytest.raises(MlcError, match="sizes of a tensor that nothing needs"):
        program(text.replace("x -> Outer", "relu(x) -> Outer"))


def test_a_block_that_is_called_twice_keeps_its_loops_and_quotients() -> None:
    text = """
block Tower(heads, depth):
    in  x: f32[B, T, D]
    out y: like x
    param shift: f32[heads, 1, D / heads] = zeros
    h = x + rearrange(shift, "h t k -> t (h k)")
    repeat depth:
        h = h -> layer_norm -> linear(D)
    y = h

model Twins(D = 8, heads = 2, depth = 3):
    in  a: f32[B, T, D]
    in  b: f32[B, T, D]
    out y: f32[B, T, D]
    tower = Tower(heads, depth)
    y = tower(a) - tower(b)
"""
    made = classes(text)
    assert [hyper.name for hyper in made["Twins"].params] == ["D", "heads", "depth"]
    (shift,) = made["Tower"].parameters
    assert [expr.show(size) for size in shift.shape] == ["heads", "1", "D // heads"]


def test_the_scale_of_scores_is_an_expression_of_the_width() -> None:
    text = """
block Heads(heads):
    in  x: f32[B, T, D]
    out y: like x
    h = x -> linear(D) -> rearrange("b t (h k) -> b h t k", h = heads)
    y = sdpa(h, h, h, causal = true) -> rearrange("b h t k -> b t (h k)")

model M(D = 8, heads = 2):
    in  x: f32[B, T, D]
    out y: f32[B, T, D]
    y = x -> Heads(heads)
"""
    graph, _ = clone(load(text))
    expand(graph, lambda node: node.op.name != "sdpa", explained=True)
    made = {c.name: c for c in outline(graph).classes}["Heads"]
    shown = {expr.show(s.attrs["value"]) for s in walk(made.body)
             if isinstance(s, Apply) and s.op.name == "constant"}  # fmt: skip
    assert "(D // heads) ** (-0.5)" in shown


def test_a_block_that_is_given_a_tensor_twice_is_of_the_same_class() -> None:
    text = """
block Attend(heads):
    in  x: f32[B, T, D]
    in  memory: f32[B, S, D]
    out y: f32[B, T, D]
    y = x + attention(layer_norm(x), memory, heads)

model M(heads = 2):
    in  x: f32[B, T, 4]
    in  memory: f32[B, S, 4]
    out y: f32[B, T, 4]
    h = Attend(heads)(x, x)
    y = Attend(heads)(h, memory)
"""
    graph, _ = clone(load(text))
    algebra(graph)
    made = {c.name: c for c in outline(graph).classes}
    assert set(made) == {"Attend", "M"}
    assert list(made["Attend"].inputs) == ["x", "memory"]
