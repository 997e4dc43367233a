"""Modules: dataflow files that stand for a node."""
