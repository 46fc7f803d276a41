"""What the language is, as data files: `mdl.lark` its grammar, `reference.md` its reference."""
