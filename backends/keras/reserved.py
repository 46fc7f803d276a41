"""Names that Keras files have taken."""

LOCALS = frozenset({"keras", "Path", "load_file", "build", "name", "self", "tensors", "count"})
"""What emitted files import or define."""
