"""What `imports` starts: it imports the node API itself, and says what that took.

python -m benchmarks.import_worker import|node FILE
"""

from __future__ import annotations

import gc
import json
import sys
import time
from pathlib import Path

from benchmarks.memory import memory_mb


def main(what: str, result: Path) -> None:
    """Look at an import, or at a node, and write what was found."""
    found = _look_at_import() if what == "import" else _look_at_node()
    result.write_text(json.dumps(found))


def _look_at_import() -> dict[str, float]:
    import numpy as np  # noqa: F401 - what takes the most time, and is no part of it

    gc.collect()
    gc.disable()  # else it is chance how much of the collector's work falls into the import
    before = _memory()
    began_ns = time.process_time_ns()
    from dora_rt import Node  # noqa: F401

    cpu_ms = (time.process_time_ns() - began_ns) / 1e6
    return {"cpu_ms": cpu_ms, **{key: mb - before[key] for key, mb in _memory().items()}}


def _look_at_node() -> dict[str, float]:
    from dora_rt import Node

    node = Node()
    node.send_output("out", bytes(8))
    node.next()
    return _memory()


def _memory() -> dict[str, float]:
    return {"rss_mb": memory_mb("self", "Rss:"), "pss_mb": memory_mb("self", "Pss:")}


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
