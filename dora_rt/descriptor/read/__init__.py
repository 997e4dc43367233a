"""Read the keys of a dataflow file, a module for each group of keys."""
