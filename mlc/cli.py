"""The command line: its options, and its manners when something goes wrong.

Nothing is imported here that the asked command does not need. Each command is a function of
`command.py` with the parsed options as its argument.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from . import __version__

EQUAL, DIFFERENT, BAD_INPUT, ENGINE, INTERNAL, INTERRUPTED = 0, 1, 2, 3, 70, 130
"""Exit codes; a command that has nothing to compare ends with 0 or 2."""


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that raises MlcError `usage`, with the nearest word, instead of exiting."""

    def error(self, message: str) -> NoReturn:
        from .compiler.diagnose import MlcError

        raise MlcError("usage", message, help=f"`{self.prog} --help` lists what there is")

    def unknown(self, what: str, word: str, known: Sequence[str]) -> NoReturn:
        """Raises for a word that is none of the known ones."""
        from .compiler.diagnose import MlcError
        from .request import did_you_mean

        help = did_you_mean(word, known) or f"`{self.prog} --help` lists what there is"
        raise MlcError("usage", f"there is no {what} {word!r}", help=help)


def parser() -> tuple[Parser, dict[str, Parser]]:
    """The parser, and those of its commands by name."""
    top = Parser(
        prog="mlc",
        description="Translates models between frameworks, as source that is proven equal.",
        epilog="`mlc COMMAND --help` says more. Exit codes: 0 done or equal, 1 different or"
        " suspicious, 2 bad input or usage, 3 an engine is missing or died.",
        allow_abbrev=False,
    )
    top.add_argument("--version", action="version", version=f"mlc {__version__}")
    commands: dict[str, Parser] = {}
    group = top.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for name, (summary, options) in COMMANDS.items():
        each = group.add_parser(name, help=summary, description=summary, allow_abbrev=False)
        options(each)
        commands[name] = each
    return top, commands


def _compile(p: Parser) -> None:
    _model(p)
    _target(p, required=True)
    _weights(p)
    p.add_argument(
        "-o", "--output", metavar="DIR", default=".",
        help="where the folder NAME_TARGET is made (default: here); - prints the source",
    )  # fmt: skip
    p.add_argument(
        "--ir", action="store_true",
        help="for openvino, also write the model as IR (.xml and .bin, in f32), with the weights",
    )  # fmt: skip
    p.add_argument(
        "--gradients", action="store_true",
        help="for onnx and openvino, a model that also computes its gradients by float inputs and"
        " trainable weights",
    )  # fmt: skip
    p.add_argument(
        "--training", action="store_true",
        help="for onnx and openvino, the model in training mode, with masks of dropout as inputs",
    )  # fmt: skip
    p.add_argument(
        "--tpu", action="store_true",
        help="for jax, multiply matrices in bfloat16, with functions that compile a call and export"
        " it for TPUs",
    )  # fmt: skip
    _scan(p)
    _style(p)
    _layout(p)


def _verify(p: Parser) -> None:
    _model(p)
    _target(p, required=False)
    _weights(p)
    p.add_argument(
        "--seeds", type=int, metavar="N", default=1,
        help="how many sets of inputs are drawn (default: 1)",
    )  # fmt: skip
    p.add_argument(
        "--mode", choices=("inference", "training", "both"), default="both",
        help="which mode is compared (default: both)",
    )  # fmt: skip
    p.add_argument(
        "--tpu", action="store_true",
        help="compare the file for TPUs of jax: its products when lowered for one, and its numbers,"
        " within the rounding of bfloat16",
    )  # fmt: skip
    p.add_argument(
        "--folder", action="append", default=[], metavar="DIR", dest="folders",
        help="a folder that mlc compile wrote, edited since or not, in the place of what it writes"
        " for that target; may be given again",
    )  # fmt: skip
    p.add_argument(
        "--faults", action="store_true",
        help="also say which kinds of faults this run would have seen in this model",
    )  # fmt: skip
    _scan(p)
    _style(p)
    p.add_argument("--json", action="store_true", help="print the report as JSON")


def _weights_command(p: Parser) -> None:
    p.add_argument(
        "action", choices=("convert",), metavar="convert",
        help="write weights of one framework, trained or not, as those of another",
    )  # fmt: skip
    p.add_argument(
        "file", nargs="?", metavar="MODEL",
        help="the model in the .mdl language; not needed between two folders",
    )  # fmt: skip
    p.add_argument("tensors", metavar="FILE", help="its weights, as safetensors")
    sides = "a target, `source` for the model's own names, or a folder that mlc compile wrote"
    p.add_argument(
        "--from", required=True, metavar="SIDE", dest="source", help=f"whose they are: {sides}"
    )
    p.add_argument("--to", required=True, metavar="SIDE", help="whose they become: the same")
    p.add_argument("-o", "--output", required=True, metavar="OUT", help="the file to write")
    _settings(p)
    _layout(p)


def _check(p: Parser) -> None:
    _model(p)
    p.add_argument(
        "--tpu", action="store_true",
        help="also say what a TPU's matrix unit makes of it: FLOPs, bytes, share of padding",
    )  # fmt: skip
    p.add_argument(
        "--size", action="append", default=[], metavar="NAME=N", dest="sizes",
        help="with --tpu, a size of the inputs (B=8); may be given again, others are chosen",
    )  # fmt: skip
    p.add_argument("--json", action="store_true", help="with --tpu, print all of that as JSON")


def _fmt(p: Parser) -> None:
    p.add_argument("files", nargs="+", metavar="FILE", help="models in the .mdl language")
    p.add_argument("--check", action="store_true", help="change nothing; exit 1 if a file would be")


def _explain(p: Parser) -> None:
    p.add_argument("topic", metavar="CODE|OP", help="a code of a diagnostic, or an operator")


def _ops(p: Parser) -> None:
    p.add_argument("words", nargs="*", metavar="WORD", help="only those whose name holds a WORD")
    p.add_argument(
        "--target", "-t", action="append", metavar="NAME[,NAME]",
        help="only the columns of these frameworks (default: all)",
    )  # fmt: skip
    p.add_argument("--json", action="store_true", help="print the table as JSON")


def _nothing(p: Parser) -> None:
    del p


COMMANDS: dict[str, tuple[str, Callable[[Parser], None]]] = {
    "compile": ("write a model as source code of frameworks", _compile),
    "verify": ("compare what the emitted files compute, gradients included", _verify),
    "weights": ("convert files of weights between frameworks", _weights_command),
    "check": ("parse a model and print its signature", _check),
    "fmt": ("format model files", _fmt),
    "explain": ("explain a diagnostic or an operator", _explain),
    "ops": ("list the operators, and what each target makes of them", _ops),
    "targets": ("list the frameworks that mlc writes for", _nothing),
}
"""Commands in the order of the help text: what each does, and what adds its options."""


def _model(p: Parser) -> None:
    p.add_argument("file", metavar="FILE", help="a model in the .mdl language")
    _settings(p)


def _settings(p: Parser) -> None:
    p.add_argument("--model", metavar="NAME", help="which model, where the file has several")
    p.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", dest="settings",
        help="a hyper-parameter of the model; may be given again",
    )  # fmt: skip


def _target(p: Parser, *, required: bool) -> None:
    default = "" if required else " (default: those that are installed)"
    p.add_argument(
        "--target", "-t", action="append", required=required, metavar="NAME[,NAME]",
        help=f"frameworks, or all{default}; `mlc targets` lists them",
    )  # fmt: skip


def _scan(p: Parser) -> None:
    p.add_argument(
        "--scan-layers", action="store_true",
        help="for jax, equal blocks one after the other as one that is compiled once, with stacked"
        " weights",
    )  # fmt: skip


def _style(p: Parser) -> None:
    p.add_argument(
        "--style", metavar="NAME",
        help="for jax, functional: pure functions of nested dictionaries, without Flax modules",
    )  # fmt: skip


def _layout(p: Parser) -> None:
    p.add_argument(
        "--keep-layout", action="store_true",
        help="keep the model's order of axes where the target stores channels last",
    )  # fmt: skip


def _weights(p: Parser) -> None:
    p.add_argument("--weights", metavar="FILE", help="safetensors under the model's own names")
    p.add_argument(
        "--rename", metavar="MAP",
        help="a file of lines `foreign = ours` (h.*.ln.* = layers.*.norm.*; mask = - drops it)",
    )  # fmt: skip


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The options; MlcError `usage` where they are wrong, with the nearest right one."""
    top, commands = parser()
    word = next((word for word in arguments if not word.startswith("-")), None)
    if word is not None and word not in commands:
        top.unknown("command", word, list(commands))
    chosen = commands[word] if word is not None else top
    known = [flag for action in chosen._actions for flag in action.option_strings]
    for flag in (text.partition("=")[0] for text in arguments if text.startswith("--")):
        if flag not in known and flag != "--":
            chosen.unknown("option", flag, known)
    options = top.parse_args(arguments)
    if options.command is None:
        top.print_help()
    return options


def main(arguments: Sequence[str]) -> int:
    """Runs one command and returns its exit code; whatever happens, no traceback is shown."""
    try:
        code = _run(arguments)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader has gone (`mlc ops | head`); keep the interpreter's last flush from failing.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except SystemExit as end:  # argparse, after --help and --version
        return end.code if isinstance(end.code, int) else 0


def _run(arguments: Sequence[str]) -> int:
    try:
        options = parse(arguments)
        if options.command is None:
            return BAD_INPUT
        from . import command

        run: Callable[[argparse.Namespace], int] = getattr(command, options.command)
        return run(options)
    except (KeyboardInterrupt, BrokenPipeError):
        raise
    except Exception as error:
        return _report(error)


def _report(error: Exception) -> int:
    """Prints an error; anything but MlcError is a fault of ours, and says so in one line."""
    from .compiler.diagnose import MlcError
    from .render import render, visible, wants_colour

    if isinstance(error, MlcError):
        print(render(error, colour=wants_colour(sys.stderr)), file=sys.stderr)
        return ENGINE if error.code == "engine" else BAD_INPUT
    if os.environ.get("MLC_TRACEBACK"):
        import traceback

        traceback.print_exception(error)
    first = visible(str(error)).partition("\n")[0][:200]
    print(
        f"internal error: {type(error).__name__}: {first} (a fault of mlc: please report it with"
        " the model and what MLC_TRACEBACK=1 prints)",
        file=sys.stderr,
    )
    return INTERNAL
