"""Checks between nodes: wiring, types, programs, cameras, deadlocks."""
