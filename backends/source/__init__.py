"""What all backends share that print Python: trees from templates, names, statements, files."""
