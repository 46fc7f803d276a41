"""Names that OpenVINO files have taken."""

ATTRIBUTES = frozenset(
    {"weights", "constant", "masked_attention", "shape", "state", "states", "build"}
    | {"windows", "add_windows", "used", "scan", "loop", "noise", "noises"}
    | {"tensor"}
    | {f"{kind}_{what}" for kind in ("rnn", "lstm", "gru") for what in ("weights", "matrices")}
)
"""What the class has of its own: a method or a hyper-parameter of that name would hide it."""

LOCALS = frozenset(
    {"self", "itertools", "math", "np", "ov", "ops", "Path", "load_file", "build", "name", "model"}
    | {"extra", "states"}
)
"""What emitted files import or define."""

FLAT = LOCALS | {"WEIGHTS", "w", "outputs", "shape", "i"}
"""The same where all of the model stands in one method."""
