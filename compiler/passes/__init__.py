"""Rewrites of graphs: functions from a graph to the number of changes."""
