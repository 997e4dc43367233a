"""One machine of dora-rs: dora_machine.py ADDRESS_OF_COORDINATOR laptop|robot.

The laptop has the coordinator and starts dataflow.yml; both have a daemon and end with it.
"""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

_DORA = Path(sys.executable).with_name("dora")
_OVER = Path("over")
_START_S = 3.0


def main() -> int:
    """Run the part of a machine; give the exit status of the dataflow."""
    address, machine = sys.argv[1:]
    with ExitStack() as programs:

        def start(*words: str) -> None:
            process = subprocess.Popen((str(_DORA), *words))
            programs.callback(process.wait)
            programs.callback(process.kill)

        if machine == "laptop":
            start("coordinator", "--interface", address, "--store", "memory", "--quiet")
        time.sleep(_START_S / 2)
        where = ("--coordinator-addr", address)
        start("daemon", "--machine-id", machine, *where, "--zenoh-no-multicast")
        if machine == "laptop":
            time.sleep(_START_S)
            run = (str(_DORA), "start", "dataflow.yml", "--attach", *where)
            try:
                return subprocess.run(run, stdin=subprocess.DEVNULL, timeout=50).returncode
            finally:
                _OVER.touch()
        while not _OVER.exists():
            time.sleep(0.05)
    return 0


if __name__ == "__main__":
    sys.exit(main())
