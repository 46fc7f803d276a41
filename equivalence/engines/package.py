"""Imports an artefact folder as a package: what is run is the very file that the user gets."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType


def digest(folder: str | Path) -> str:
    """A name for the folder's present contents; changes when a source in it does."""
    state = hashlib.sha256(str(Path(folder).resolve()).encode())
    for path in sorted(Path(folder).iterdir()):
        if path.suffix in (".py", ".json", ".onnx"):
            state.update(path.name.encode() + path.read_bytes())
    return state.hexdigest()[:16]


def load(folder: str | Path) -> ModuleType:
    """The folder's package, imported once for each state of its files."""
    name = f"artefact_{digest(folder)}"
    if name in sys.modules:
        return sys.modules[name]
    place = Path(folder) / "__init__.py"
    spec = importlib.util.spec_from_file_location(
        name, place, submodule_search_locations=[str(folder)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
