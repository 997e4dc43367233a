"""What runs in the process of a node: the node API, operators, and programs for dora."""
