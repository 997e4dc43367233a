"""The control plane: from a plan to processes that are watched; never touches a sample."""
