"""The baton ring: its protocol, the two sides of it, and its payload memory."""
