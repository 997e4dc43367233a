"""The command `dora-rt`: what one asks beside running a dataflow."""

from dora_rt.tools.command import main

__all__ = ["main"]
