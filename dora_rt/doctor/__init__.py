"""What of this machine may keep a dataflow from running, and the way out."""
