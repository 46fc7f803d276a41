"""Names that Keras files have taken."""

from __future__ import annotations

from ..source.names import identifier

LOCALS = frozenset(
    {"keras", "Path", "load_file", "build", "name", "self", "itertools", "kwargs"}
    | {
        "trainable",
        "dtype",
        "autocast",
        "Attention",
        "Stretch",
        "partial",
        "uniform",
        "fan_uniform",
    }
)
"""What emitted files import or define, and arguments that every layer takes."""

IN_BUILD = frozenset({"weights", "config", "model", "tensors", "wrong", "variable"})
"""Variables of `build`, which calls the model's function."""

ATTRIBUTES = frozenset(
    [
        "activity_regularizer",
        "add_loss",
        "add_metric",
        "add_variable",
        "add_weight",
        "autocast",
        "build",
        "build_from_config",
        "built",
        "call",
        "call_signature_parameters",
        "compute_dtype",
        "compute_mask",
        "compute_output_shape",
        "compute_output_spec",
        "count_params",
        "dtype",
        "dtype_policy",
        "from_config",
        "get_build_config",
        "get_config",
        "get_quantization_layer_structure",
        "get_state_tree",
        "get_weights",
        "input",
        "input_dtype",
        "input_spec",
        "load_own_variables",
        "losses",
        "metrics",
        "metrics_variables",
        "name",
        "non_trainable_variables",
        "non_trainable_weights",
        "output",
        "path",
        "quantization_mode",
        "quantize",
        "quantized_build",
        "quantized_call",
        "rematerialized_call",
        "save_own_variables",
        "set_state_tree",
        "set_weights",
        "stateless_call",
        "supports_jit",
        "supports_masking",
        "symbolic_call",
        "trainable",
        "trainable_variables",
        "trainable_weights",
        "variable_dtype",
        "variables",
        "weights",
    ]
)
"""What `dir(keras.layers.Layer)` lists without an underscore: an attribute of a layer of its own
would hide it."""

CALL = frozenset({"self", "keras", "mask", "training", "args", "kwargs"})
"""Arguments of a layer's `call` that Keras gives a meaning of its own."""


def argument(name: str) -> str:
    """`name` as an argument of a layer's `call`: Keras fills in `mask` and `x_mask` by itself."""
    safe = identifier(name)
    return f"{safe}_" if safe in CALL or safe.endswith("_mask") else safe
