"""What a node does in addition while it is watched; one that is not imports nothing of it."""
