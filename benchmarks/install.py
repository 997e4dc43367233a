"""Installs what dora_rt is measured against, each as far as there is a wheel for this machine.

python -m benchmarks.install
"""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import metadata

_EXTRA = re.compile(r"""extra\s*==\s*['"]bench['"]""")


def main() -> int:
    """Install each package of the extra `bench`; what cannot be had is said, and is no failure."""
    for requirement in metadata.requires("dora_rt") or []:
        package, _, marker = requirement.partition(";")
        if _EXTRA.search(marker):
            _install(package.strip())
    return 0


def _install(package: str) -> None:
    # Not from source, what it needs aside: they are Rust or C++, and would need their tools.
    name = re.split(r"[<>=!~ \[]", package)[0]
    options = ["--quiet", "--disable-pip-version-check", "--only-binary", name]
    command = [sys.executable, "-m", "pip", "install", *options, package]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        print(f"{package} cannot be installed here and will be skipped: {reason}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
