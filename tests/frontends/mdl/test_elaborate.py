"""What elaboration records: names, loops, chains, states, optional inputs, sizes, labels."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from mlc.compiler import expr
from mlc.compiler.diagnose import MlcError
from mlc.compiler.graph import Graph, Input, Node
from mlc.frontends.mdl import load

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "examples" / "mnist.mdl"


def body(lines: str, header: str = "", inputs: str = "in x: f32[B, C = 8]") -> Graph:
    """A model with these lines between `in` and `out`."""
    text = dedent(lines).strip().replace("\n", "\n    ")
    return load(f"{header}\nmodel M:\n    {inputs}\n    out y: like y\n    {text}\n")


def paths(g: Graph) -> list[str]:
    return [layer.path for layer in g.layers]


def ops(g: Graph) -> list[str]:
    return [node.op.name for node in g]


def only(g: Graph, op: str) -> Node:
    (node,) = [node for node in g if node.op.name == op]
    return node


BLOCK = """
block Unit(width):
    in  x: f32[B, C]
    out y: f32[B, width]
    y = x -> linear(width) -> relu
"""

# ------------------------------------------------------------------------------------- names


def test_layers_are_named_after_their_ops_and_numbered_where_there_are_several() -> None:
    g = body("y = x -> linear(4) -> layer_norm -> linear(2)")
    assert paths(g) == ["linear1", "layer_norm", "linear2"]


def test_held_and_labelled_layers_keep_the_names_of_the_source() -> None:
    g = body("""
        first = linear(8)
        y = first(x) -> linear(8) as last -> first -> linear(2)
    """)
    assert paths(g) == ["first", "last", "linear"]
    assert len(g.layers[0].weights["weight"].users) == 2


def test_both_arms_of_an_if_count() -> None:
    g = body("""
        if 1 < 2:
            y = x -> linear(4)
        else:
            y = x -> linear(5)
    """)
    assert paths(g) == ["linear1"]
    assert only(g, "linear").arms == ((next(iter(g.root.ifs)), 0),)


def test_a_chain_loop_is_one_list() -> None:
    g = body(
        """
        h = x
        for a, n in [(4, 1), (6, 2)]:
            h = h -> Unit(a)
            repeat n:
                h = h -> Unit(a)
        y = h
        """,
        BLOCK,
    )
    assert paths(g) == [f"blocks.{i}.linear" for i in range(5)]
    scopes = [node.scope for node in g if node.op.name == "linear"]
    assert [s.index for s in scopes] == [0, 1, 2, 3, 4]
    loops = [s.parent.loop for s in scopes if s.parent]
    assert [loop.name for loop in loops if loop] == ["blocks"] * 5
    assert scopes[1].parent is not None
    assert scopes[1].parent.kind == "iteration"


def test_layers_alone_make_a_list_of_layers() -> None:
    g = body("h = x\nrepeat 2:\n    h = h -> linear(8) -> layer_norm\ny = h")
    assert paths(g) == ["layers.0", "layers.1", "layers.2", "layers.3"]


def test_other_loops_have_a_list_for_each_site() -> None:
    g = body("h = x\nrepeat 2:\n    h = h -> linear(8) -> relu -> layer_norm\ny = h")
    assert paths(g) == ["linear.0", "layer_norm.0", "linear.1", "layer_norm.1"]
    assert [layer.index for layer in g.layers] == [0, 0, 1, 1]


def test_a_loop_with_one_site_names_the_list() -> None:
    g = body("h = x\nrepeat 2:\n    h = h -> linear(8) -> relu\ny = h")
    assert paths(g) == ["layers.0", "layers.1"]
    g = body("h = x\nrepeat 2 as stack:\n    h = h + (h -> linear(8))\ny = h")
    assert paths(g) == ["stack.0", "stack.1"]


def test_loops_of_one_name_are_numbered() -> None:
    loop = "repeat 1:\n    h = h -> Unit(8)\n"
    g = body(f"h = x\n{loop}{loop}y = h", BLOCK)
    assert paths(g) == ["blocks1.0.linear", "blocks2.0.linear"]


@pytest.mark.parametrize(("count", "name"), [("cells", "cells"), ("n", "blocks")])
def test_a_repeat_is_called_by_its_count_where_that_is_a_plural(count: str, name: str) -> None:
    g = load(
        f"{BLOCK}model M({count} = 3):\n    in x: f32[B, 8]\n    out y: f32[B, 8]\n    y = x\n"
        f"    repeat {count}:\n        y = y -> Unit(8)\n"
    )
    assert paths(g) == [f"{name}.{i}.linear" for i in range(3)]


def test_a_chain_numbers_all_its_stages() -> None:
    g = body(
        "skip = x if 8 == 9 else x -> relu -> linear(3) -> dropout(0.1)\ny = skip -> linear(2)"
    )
    assert paths(g) == ["skip.1", "skip.2", "linear"]
    scope = g.layers[0].scope
    assert (scope.kind, scope.path, g.layers[0].member) == ("chain", "skip", "1")
    assert scope.inputs["x"] is g.inputs[0]
    plain = body("skip = x if 8 == 8 else x -> linear(3)\ny = skip -> linear(2)")
    assert paths(plain) == ["linear"]
    assert [arm for _, arm in plain.root.ifs.values()] == [0]


def test_two_members_of_one_name_are_refused() -> None:
    with pytest.raises(MlcError, match="two members are called a"):
        body("h = x -> linear(8) as a\ny = h -> linear(8) as a")


# ------------------------------------------------------------------------------------ blocks


def test_a_shared_block_has_one_set_of_weights_and_counts_its_calls() -> None:
    g = body("unit = Unit(8)\ny = x -> unit -> unit", BLOCK)
    assert paths(g) == ["unit.linear"]
    assert [node.scope.call for node in g if node.op.name == "linear"] == [0, 1]


def test_hyper_parameters_keep_the_callers_expressions() -> None:
    g = load(
        BLOCK + "model M(wide = 3):\n    in x: f32[B, 8]\n    out y: f32[B, 6]\n"
        "    y = x -> Unit(2 * wide)\n"
    )
    scope = only(g, "linear").scope
    assert scope.values["width"] == 6
    assert expr.show(scope.exprs["width"]) == "2 * wide"
    assert (scope.values["C"], expr.show(only(g, "linear").exprs["features"])) == (8, "width")


def test_static_variables_are_replaced_by_their_expressions() -> None:
    g = load(
        "model M(n = 2):\n    in x: f32[B, 8]\n    out y: f32[B, 4]\n"
        "    wide = 4 * n\n"
        "    if n > 1:\n        half = wide // 2\n    else:\n        half = wide\n"
        "    y = x -> linear(half)\n"
    )
    assert expr.show(only(g, "linear").exprs["features"]) == "4 * n // 2 if n > 1 else 4 * n"


def test_what_a_loop_carries_is_a_name_of_each_iteration() -> None:
    g = body("w = 2\nh = x\nrepeat 2:\n    w = w * 2\n    h = h -> linear(w) -> relu\ny = h")
    assert [layer.attrs["features"] for layer in g.layers] == [4, 8]
    assert [expr.show(layer.exprs["features"]) for layer in g.layers] == ["w * 2", "w * 2"]
    scopes = [layer.scope for layer in g.layers]
    assert [scope.values["w"] for scope in scopes] == [2, 4]
    assert expr.show(scopes[0].exprs["w"]) == "2"
    assert [expr.show(scope.carries["w"]) for scope in scopes] == ["w * 2", "w * 2"]


def test_what_a_loop_leaves_behind_depends_on_all_that_it_read() -> None:
    g = load(
        "model M(n = 2, wide = 3):\n    in x: f32[B, 8]\n    out y: f32[B, 6]\n"
        "    w = wide\n    h = x\n    repeat n - 1:\n        w = w * 2\n"
        "    y = h -> linear(w)\n"
    )
    assert expr.names(only(g, "linear").exprs["features"]) == {"n", "wide"}
    assert not expr.known(only(g, "linear").exprs["features"])


def test_blocks_can_be_hyper_parameters_and_so_can_ops() -> None:
    g = load(
        "block Act(f):\n    in x: f32[B, C]\n    out y: like x\n    y = x -> f\n"
        "model M:\n    in x: f32[B, C]\n    out y: like x\n    y = x -> Act(relu) -> Act(gelu)\n"
    )
    assert ops(g) == ["relu", "gelu"]


def test_several_inputs_and_outputs() -> None:
    g = load(
        "block Two:\n    in a: f32[B, C]\n    in b: f32[B, C]\n    out s: f32[B, C]\n"
        "    out d: f32[B, C]\n    s = a + b\n    d = a - b\n"
        "model M:\n    in x: f32[B, C]\n    in z: f32[B, C]\n    out p: f32[B, C]\n"
        "    out q: f32[B, C]\n    p, q = (x, z) -> Two\n"
    )
    assert list(g.outputs) == ["p", "q"]
    assert ops(g) == ["add", "sub"]


def test_recursion_is_an_error() -> None:
    text = BLOCK.replace("linear(width)", "Unit(width)")
    with pytest.raises(MlcError, match="called within itself") as caught:
        body("y = x -> Unit(8)", text)
    assert caught.value.code == "recursion"


# ------------------------------------------------------------------------------ sizes, labels


def test_sizes_are_bound_checked_and_proven() -> None:
    g = load(
        "model M:\n    in x: f32[B, H, W]\n    in z: f32[B, 2 * H]\n    out y: f32[B, 3 * H]\n"
        "    y = concat(x -> max(W), z, axis = 1)\n"
    )
    assert g.facts == []
    assert str(g.inputs[1].type) == "f32[B, 2 * H]"


def test_division_of_sizes_is_exact_and_becomes_a_fact() -> None:
    g = load(
        "model M:\n    in x: f32[B, H]\n    out y: f32[B, H / 2, 2]\n"
        "    y = x -> reshape(B, H / 2, 2)\n"
    )
    assert [str(fact) for fact in g.facts] == ["2 | H"]
    assert expr.show(only(g, "reshape").exprs["shape"]) == "(B, H // 2, 2)"


def test_requirements_on_sizes_are_facts_and_decide_what_follows() -> None:
    g = load(
        'model M:\n    in x: f32[B, H]\n    out y: f32[B, H]\n    require H % 4 == 0, "no"\n'
        "    y = relu(x) if H % 4 == 0 else x\n"
    )
    assert [str(fact) for fact in g.facts] == ["4 | H"]
    assert ops(g) == ["relu"]
    assert g.root.requires[0].message == "no"


def test_labels_are_the_blocks_own_and_come_back_as_the_callers() -> None:
    g = load(
        "block Pool:\n    in x: f32[N, C, rows, cols]\n    out y: f32[N, C, rows, cols]\n"
        "    y = x - mean(x, rows, keep = true)\n"
        "model M:\n    in x: f32[B, C, H, W]\n    out y: f32[B, C]\n"
        "    y = x -> Pool -> mean(H, W)\n"
    )
    assert [node.attrs["axes"] for node in g if node.op.name == "mean"] == [(2,), (2, 3)]


def test_labels_and_sizes_are_two_things() -> None:
    g = load(
        "model M:\n    in x: f32[B, 3, H = 8, half = H / 2]\n    out y: f32[B, 3]\n"
        "    y = x -> mean(H, half)\n"
    )
    assert str(g.inputs[0].type) == "f32[B, 3, H = 8, half = 4]"


def test_axes_of_two_labels_that_meet_are_a_warning() -> None:
    g = load(
        "model M:\n    in a: f32[B, T]\n    in b: f32[B, S]\n    out y: f32[B, T]\n    y = a + b\n"
    )
    assert [w.code for w in g.warnings] == ["label"]
    assert [str(fact) for fact in g.facts] == ["T == S"]


# ---------------------------------------------------------------------- params, state, optional


def test_a_state_is_a_weight_that_is_updated_once_a_call() -> None:
    counter = (
        "block Count:\n    in x: f32[B, C]\n    out y: f32[B, C]\n    state n: f32[C] = zeros\n"
        "    n := n + 1.0\n    y = x + n\n"
    )
    g = body("first = Count()\ny = x -> first -> first", counter)
    weight = g.weights["first.n"]
    assert not weight.trainable
    value, when = g.updates[weight]
    assert when == "always"
    # The second call reads what the first one left: two additions of 1 in a row.
    assert value.node is not None
    before = value.node.inputs[0]
    assert before is not None
    assert before.node is not None
    assert before.node.inputs[0] is weight


def test_a_batch_norm_that_is_used_twice_chains_its_statistics() -> None:
    g = body("norm = batch_norm()\ny = x -> norm -> relu -> norm")
    first, second = (node for node in g if node.op.name == "batch_norm")
    mean = g.weights["norm.running_mean"]
    assert second.inputs[3] is first.outputs[1]
    assert g.updates[mean] == (second.outputs[1], "training")


def test_params_keep_the_expressions_of_their_sizes() -> None:
    g = load(
        "model M(D = 8):\n    in x: f32[B, D]\n    out y: f32[B, D]\n"
        "    param scale: f32[D, 2] = normal(0.02)\n    y = x * scale[:, 0]\n"
    )
    weight = g.weights["scale"]
    assert [expr.show(e) for e in weight.exprs] == ["D", "2"]
    assert (weight.init.kind, weight.init.args, weight.part) == ("normal", (0.02,), "scale")


OPTIONAL = """
block Mask:
    in  x: f32[B, T]
    in? keep: bool[B, T] = true
    out y: f32[B, T]
    y = where(keep, x, 0.0)
"""


def test_an_optional_input_of_the_root_is_an_input_with_its_default() -> None:
    g = load(OPTIONAL.replace("block", "model"))
    assert [(i.name, i.default) for i in g.inputs] == [("x", None), ("keep", True)]
    assert isinstance(only(g, "where").inputs[0], Input)


def test_an_optional_input_that_is_left_out_is_filled_where_a_tensor_is_needed() -> None:
    g = load(OPTIONAL + "model M:\n    in x: f32[B, T]\n    out y: like x\n    y = x -> Mask\n")
    assert ops(g) == ["constant", "expand", "constant", "where"]
    assert str(only(g, "expand").output.type) == "bool[B, T]"
    assert "keep" not in only(g, "where").scope.inputs


# ------------------------------------------------------------------------- lists and indexing


def test_lists_of_tensors_grow_and_are_indexed() -> None:
    g = body("""
        xs = []
        h = x
        for width in [4, 8]:
            h = h -> linear(width)
            xs += [h]
        y = concat(xs[-1], xs[0], axis = 1)
    """)
    assert str(g.outputs["y"].type) == "f32[B, 12]"


def test_indices_become_slices() -> None:
    g = body("y = x[:, 1:-1, 0]", inputs="in x: f32[B, T = 8, C]")
    assert ops(g) == ["slice", "squeeze"]
    node = only(g, "slice")
    assert (node.attrs["starts"], node.attrs["ends"], node.attrs["axes"]) == (
        (1, 0),
        (-1, 1),
        (1, 2),
    )
    assert str(g.outputs["y"].type) == "f32[B, T = 6]"
    assert ops(body("y = x[..., -1]")) == ["slice", "squeeze"]
    assert str(body("y = x[:, none]").outputs["y"].type) == "f32[B, 1, C = 8]"


def test_keywords_are_soft() -> None:
    g = body("state = x -> linear(4)\nout = state + 1.0\nrepeat = out\ny = repeat")
    assert paths(g) == ["linear"]


def test_values_are_called_as_in_the_source() -> None:
    g = body("h = x -> linear(4)\ny = relu(h)")
    assert [node.output.name for node in g] == ["h", "y"]
    assert g.inputs[0].name == "x"


def test_sites_follow_the_order_of_evaluation() -> None:
    g = body("y = relu(x -> linear(4)) + (x -> linear(4))")
    sites = [node.site for node in g]
    assert sites == sorted(sites)
    assert len(set(sites)) == 4


def test_constants_keep_their_expressions_and_take_the_dtype_of_the_tensor() -> None:
    g = load("model M(scale = 3):\n    in x: i32[B]\n    out y: i32[B]\n    y = scale * x\n")
    constant = only(g, "constant")
    assert (constant.attrs["value"], constant.attrs["dtype"]) == (3, "i32")
    assert expr.show(constant.exprs["value"]) == "scale"


def test_the_comment_above_a_definition_is_its_doc() -> None:
    text = "# One line,\n# and another.\n" + BLOCK.replace("block", "model").lstrip()
    text = text.replace("[B, C]", "[B, 8]")
    g = load(text, params={"width": 4})
    assert g.root.definition is not None
    assert g.root.definition.doc == "One line,\nand another."


def test_labels_of_parts_of_an_axis_do_not_warn() -> None:
    g = load(
        "model M:\n    in x: f32[B, d]\n    in r: f32[B, half = d / 2]\n    out y: f32[B, half]\n"
        "    y = x[:, :half] * r\n"
    )
    assert g.warnings == []


def test_layers_that_are_never_applied_are_no_part_of_the_graph() -> None:
    g = body("f = linear(8)\ny = relu(x)")
    assert g.layers == []
    assert [w.message for w in g.warnings] == ["value f is never used"]


def test_layers_have_all_of_their_configuration() -> None:
    g = body("y = x -> dropout(0.3) -> layer_norm")
    assert g.layers[0].attrs["rate"] == 0.3
    assert all(layer.attrs.keys() == layer.op.config.keys() for layer in g.layers)


def test_names_may_be_keywords_of_python() -> None:
    g = load(
        "model M(class = 2):\n    in x: f32[B, lambda = 4]\n    out y: f32[B, 2 * class]\n"
        "    def = class + class\n    y = x -> linear(def)\n"
    )
    assert expr.show(only(g, "linear").exprs["features"]) == "class + class"


def test_loading_imports_no_numpy() -> None:
    code = (
        "import sys; from mlc.frontends.mdl import load; "
        f"load(open({str(EXAMPLE)!r}).read()); sys.exit('numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
