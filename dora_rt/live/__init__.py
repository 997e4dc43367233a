"""A run seen from outside: samples of an output, rates, and a run started from Python."""
