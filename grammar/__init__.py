"""What the language is: its grammar (`mdl.lark`) and its reference (`reference.md`), as data files."""
