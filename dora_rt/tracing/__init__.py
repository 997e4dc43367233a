"""Tracing: timeline and spans of a node; imported only in a traced run."""
