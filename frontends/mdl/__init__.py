"""The .mdl frontend: text to syntax tree, and the syntax tree to a graph with its scopes."""
