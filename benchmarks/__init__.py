"""Benchmarks of dora_rt beside what else moves a frame between two Python programs."""
