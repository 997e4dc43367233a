"""The command `dora-rt`: what one asks beside running a dataflow."""

from dora_rt.cli.dora_rt import main

__all__ = ["main"]
