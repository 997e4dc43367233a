"""Lets `python -m dora_rt.tools` be `dora-rt`."""

from dora_rt.tools import main

main()
