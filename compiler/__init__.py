"""The graph, its operators and its passes: what is true of a model in every framework."""
