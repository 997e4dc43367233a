"""Makes `python -m dora_rt.cli` the same as `dora-rt`."""

from dora_rt.cli import main

main()
