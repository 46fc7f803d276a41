"""The loop of an engine process: jobs come on its standard input, answers go to its output."""

from __future__ import annotations

import gc
import importlib
import os
import sys

from . import ENGINES
from .protocol import Failure, read, write


def main(target: str) -> None:
    """Imports the framework of `target`, reports its settings, then serves jobs to the last.

    What the framework prints goes to the standard error, so that it cannot mix with the answers.
    """
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    jobs = sys.stdin.buffer
    try:
        engine = importlib.import_module(f".{target}", __package__)
        write(answers, engine.settings())
        # What the framework made while it was imported stays: no collection need look at it.
        gc.freeze()
    except ImportError as error:
        missing = (error.name or "").partition(".")[0] in ENGINES[target]
        write(answers, Failure(type(error).__name__, str(error), missing))
        return
    while True:
        try:
            job = read(jobs)
        except EOFError:
            return
        try:
            write(answers, engine.run(job))
        except Exception as error:
            message = str(error).strip() or repr(error)
            write(answers, Failure(type(error).__name__, message))
