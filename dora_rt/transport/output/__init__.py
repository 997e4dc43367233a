"""One output of a node: publishing, loans, and its readers as their writer sees them."""
