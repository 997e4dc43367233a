"""The data plane: how samples get from one process to another; knows nothing of files and plans."""
