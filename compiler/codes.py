"""The codes of diagnostics, as `mlc explain CODE` prints them: a code never changes meaning."""

from __future__ import annotations

from collections.abc import Mapping

CODES: Mapping[str, str] = {
    "axis": "An axis that the tensor does not have, or that is named twice.",
    "dtype": (
        "An operator does not take tensors of this element type, or was given several that"
        " differ. Nothing is converted silently: write cast(x, f32)."
    ),
    "engine": (
        "A package that this needs is not installed, or the process in which it runs has died."
        " The message names what installs it."
    ),
    "feed": (
        "An array given to a model does not fit it: a name, shape, kind of number or size that"
        " the model does not take. The message says what was wanted and what was given."
    ),
    "file": "A file that does not exist, cannot be read, or is no text in UTF-8. Check the path.",
    "gradient": (
        "A gradient was asked for that passes through an operator which has none. Differentiate"
        " with respect to something else, or write the model without that operator."
    ),
    "import": "A file of a kind that mlc does not read. It reads its own language, .mdl.",
    "internal": (
        "A fault in mlc itself, not in the model. Run again with MLC_TRACEBACK=1 and report"
        " what it prints."
    ),
    "output": (
        "The artefact cannot be written: the folder cannot be made, or it holds something that"
        " mlc did not write and would have to delete. Move it, or choose another folder with -o."
    ),
    "shape": "Two sizes that must be equal, or must fit, cannot.",
    "syntax": "The text does not follow the grammar of the language at this place.",
    "target": "A target that mlc does not write. `mlc targets` lists those it does.",
    "unsupported": (
        "Something that the language has, and that this target (or this version of mlc) has no"
        " form for. Nothing is put in its place."
    ),
    "usage": (
        "A command, option or setting that mlc does not have, or a value that it does not take."
        " `mlc COMMAND --help` lists what there is."
    ),
    "weights-dtype": (
        "A tensor of a weights file has another element type than the model's weight of that"
        " name. Nothing is converted silently: save it in the model's dtype."
    ),
    "weights-file": (
        "A weights file cannot be read, or is not a whole safetensors file: truncated, with a"
        " header that is malformed, or with tensors that overlap."
    ),
    "weights-key": (
        "A weights file lacks a tensor that the model has, or has one that the model lacks."
        " Tensors are matched by name, never by order."
    ),
    "weights-shape": (
        "A tensor of a weights file has another shape than the model's weight of that name."
        " Check the hyper-parameters that the file was trained with."
    ),
    "weights-tied": (
        "Two tensors of a target that are one in the model have different values, so that there"
        " is no one value to give it."
    ),
}
"""Code -> what it means and what to do, in a paragraph."""
