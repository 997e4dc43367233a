"""The data plane: samples between processes; knows nothing of files and plans."""
