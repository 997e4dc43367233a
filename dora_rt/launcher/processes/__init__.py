"""Start, signal and reap operating-system processes."""
