"""The codes of diagnostics, as `mlc explain CODE` prints them: a code never changes meaning."""

from __future__ import annotations

from collections.abc import Mapping

CODES: Mapping[str, str] = {
    "argument": (
        "A callee gets an argument that it does not have, twice, or of the wrong kind, or lacks"
        " one that it needs. `mlc explain OP` lists what an op takes."
    ),
    "axis": "An axis that the tensor does not have, or that is named twice.",
    "call": (
        "Something that is neither op nor block nor held layer is applied, or a function of"
        " static values is given tensors."
    ),
    "carry": (
        "What a loop carries from step to step changes its shape or element type in a step. Make it"
        " the same at the start and the end; no size depends on data."
    ),
    "dtype": (
        "An operator does not take tensors of this element type, or was given several that"
        " differ. Nothing is converted silently: write cast(x, f32)."
    ),
    "duplicate": "Two definitions, declarations or members have one name. Rename one of them.",
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
    "indent": "The indentation of a line fits no body above it, or holds tabs. Indent with spaces.",
    "internal": (
        "A fault in mlc itself, not in the model. Run again with MLC_TRACEBACK=1 and report"
        " what it prints."
    ),
    "label": (
        "A warning: an operator aligns two axes that carry different labels. It is computed as"
        " it is written; check that the axes are meant for one another."
    ),
    "limit": (
        "The text asks for more than mlc is willing to make of it: nesting, numbers, lists,"
        " repeats or operations. The bounds keep a hostile file from using up the machine."
    ),
    "model": (
        "The text defines no model, several of which none is chosen, or not the one asked for."
    ),
    "name": (
        "A name that stands for nothing here. Names are those of the block's hyper-parameters,"
        " inputs, sizes and variables, of blocks of the file, and of ops."
    ),
    "order": (
        "A weight is read before the layer that has it was applied, and its size follows from"
        " the input of that layer."
    ),
    "out": "A model or block without an `out` line returns nothing.",
    "output": (
        "The artefact cannot be written: the folder cannot be made, or it holds something that"
        " mlc did not write and would have to delete. Move it, or choose another folder with -o."
    ),
    "pattern": (
        "The pattern of a `rearrange` cannot be read, or does not have the same axes on both sides"
        " of its arrow, or not those of the tensor."
    ),
    "recursion": "A block is called within itself. Models are finite: write a loop.",
    "rename": (
        "A line of the file that --rename names is not `foreign = ours`, is for no tensor of the"
        " weights file, leads to no weight of the model, or says the same as another."
    ),
    "require": "A `require` line, or what the arguments say of sizes, does not hold.",
    "shape": "Two sizes that must be equal, or must fit, cannot.",
    "sizes": (
        "No numbers were found for the symbolic sizes of a model that satisfy all that must hold of"
        " them. Fix some of the sizes, or check the `require` lines."
    ),
    "state": "`:=` sets a state that is not declared, that training changes, or twice in one call.",
    "static": (
        "A number must be known when the model is compiled, and depends on the size of an"
        " input. Give the axis a number, or make the size a hyper-parameter."
    ),
    "syntax": "The text does not follow the grammar of the language at this place.",
    "target": "A target that mlc does not write. `mlc targets` lists those it does.",
    "undecided": (
        "A condition depends on the sizes of inputs, so that it is neither true nor false yet."
        " Write a `require` for what must hold; it becomes a fact of the model."
    ),
    "unsupported": (
        "Something that the language has, and that this target (or this version of mlc) has no"
        " form for. Nothing is put in its place."
    ),
    "unused": (
        "A warning: a name is made and never read. A leading underscore says that this is meant."
    ),
    "use": (
        "A `use` line that cannot be followed: no such file, a path that leads out of the folder of"
        " the model's own file, a file that uses itself, or no such library."
    ),
    "usage": (
        "A command, option or setting that mlc does not have, or a value that it does not take."
        " `mlc COMMAND --help` lists what there is."
    ),
    "value": "A static value is of the wrong kind, or a computation has no result.",
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
