"""`python -m dora_rt FILE` is `dora-launch FILE`."""

from dora_rt.cli import main

main()
