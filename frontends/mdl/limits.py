"""The bounds of a text: what is more is refused, so that no file uses up the machine.

They are far above what models of today need, and low enough for every text to be read, or refused,
in seconds and in little memory.
"""

from __future__ import annotations

LENGTH = 1_000_000
"""Characters of a model's files together."""

TOKENS = 200_000
"""Words and signs of a file."""

FILES = 64
"""Files of a model."""

NAME = 200
"""Characters of a name."""

DIGITS = 18
"""Digits of an integer that is written down."""

OPEN = 60
"""Parentheses within parentheses, and bodies within bodies."""

DEPTH = 100
"""Levels of an expression or statement."""

BITS = 63
"""Bits of an integer, and of the number of elements of a tensor."""

ITEMS = 20_000
"""Elements of a list, those of lists within it included, and characters of a string."""

TERMS = 50
"""Terms of a symbolic size."""

DEGREE = 16
"""Factors of such a term."""

TEXT = 2_000
"""Characters that a symbolic size takes as text."""

RANK = 32
"""Axes of a tensor."""

AXES = 64
"""Names of a pattern."""

FACTS = 300
"""Facts of a model that do not follow from one another."""

NODES = 100_000
"""Operations of a model."""

ITERATIONS = 20_000
"""Iterations of all loops."""

CALLS = 24
"""Blocks within blocks."""

STEPS = 5_000_000
"""What may be done in all, in units of about two microseconds: an expression is one, a statement
some, the call of a block hundreds, and each element of a list that is made or gone through one."""

PARTS = 300
"""Parts of an expression that is kept beside its value; a longer one is kept as the value."""

SYNTAX_ERRORS = 10
"""Errors of the grammar that are told at once."""

ERRORS = 20
"""Errors of a model that are told at once."""

WARNINGS = 100
"""Warnings that are told at once."""

SHOWN = 200
"""Characters of a value in a message."""

MESSAGE = 1_000
"""Characters of a message."""
