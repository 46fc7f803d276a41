"""Names that Flax NNX has taken."""

ATTRIBUTES = frozenset(
    [
        "deterministic",
        "eval",
        "iter_children",
        "iter_modules",
        "perturb",
        "rngs",
        "set_attributes",
        "sow",
        "train",
    ]
)
"""What `dir(nnx.Module)` lists without an underscore: a member of that name would hide it."""

LOCALS = frozenset(
    {"self", "jax", "jnp", "nnx", "Path", "load_file", "build", "rngs", "partial", "uniform"}
    | {"attend", "sdpa", "PReLU", "RNN", "LSTM", "GRU"}
)
"""What emitted files import or define."""
