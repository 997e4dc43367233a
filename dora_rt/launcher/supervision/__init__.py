"""The loop that watches the nodes of a run, and what it decides about each."""
