"""The shared objects of a run: made, counted in, and removed by the launcher."""
