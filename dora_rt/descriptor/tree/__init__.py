"""YAML text as a tree in which every value knows its place; frozen data that come of it."""
