"""Lets `python -m dora_rt.cli` be `dora-rt`."""

from dora_rt.cli import main

main()
