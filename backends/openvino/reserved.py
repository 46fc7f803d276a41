"""Names that OpenVINO files have taken."""

ATTRIBUTES = frozenset(
    {"weights", "constant", "masked_attention", "shape", "state", "states", "build"}
)
"""What the class has of its own: a method or a hyper-parameter of that name would hide it."""

LOCALS = frozenset(
    {"self", "itertools", "np", "ov", "ops", "Path", "load_file", "build", "name", "model", "extra"}
    | {"states"}
)
"""What emitted files import or define."""
