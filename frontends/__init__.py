"""Frontends: each reads one kind of source into a graph. They never see each other or a backend."""
