"""List the keys of both dialects: those acted on, those only noted, and those refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The keys of one kind of mapping; `noted` and `refused` say why, `misnomers` what is meant."""

    keys: tuple[str, ...]
    noted: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    misnomers: Mapping[str, str] = field(default_factory=dict)


def _not_acted_on(*keys: str) -> dict[str, str]:
    return {key: f"'{key}' is not acted on (yet): ignored" for key in keys}


_BUILD = {"build": "'build' is not run: build or install the node before the launch"}
_LOG_KEYS = (
    "send_stdout_as",
    "send_logs_as",
    "min_log_level",
    "max_log_size",
    "max_rotated_files",
)
_TYPE_KEYS = ("input_types", "output_types", "output_metadata", "output_framing")
_PYTHON_ONLY = "only Python operators run here"

ROOT = Vocabulary(
    keys=("nodes", "env"),
    noted={
        "communication": "'communication' is not needed, "
        "nodes always exchange samples through shared memory: ignored",
        **_not_acted_on(
            "deploy",
            "_unstable_deploy",
            "debug",
            "_unstable_debug",
            "health_check_interval",
            "strict_types",
            "type_rules",
            "exit_when_nodes_finish",
        ),
    },
    refused={"module": "a module of another dataflow cannot be launched"},
    misnomers={"node": "nodes"},
)

_NODE_NOTED = {
    **_BUILD,
    **_not_acted_on(
        *_LOG_KEYS,
        *_TYPE_KEYS,
        "branch",
        "tag",
        "rev",
        "pattern",
        "restart_policy",
        "max_restarts",
        "restart_delay",
        "max_restart_delay",
        "restart_window",
        "health_check_timeout",
        "finish_grace_secs",
        "startup_timeout",
        "cpu_affinity",
        "shared_memory_pool_size",
        "deploy",
        "_unstable_deploy",
    ),
}
_NODE_REFUSED = {
    "git": "clone the repository yourself and give 'path'",
    "hub": "install the node's package yourself and give 'path' or 'module'",
    "path_sha256": "check the file yourself and remove the key",
    "ros2": "there is no bridge to ROS 2",
    "params": "write the nodes of the module out",
}

# The keys that say what a node runs: each node has exactly one of them, and only some of the
# other keys make sense beside it.
_PROGRAM_KEYS = ("args", "inputs", "outputs")
KEYS_BESIDE: Mapping[str, tuple[str, ...]] = {
    "path": _PROGRAM_KEYS,
    "module": _PROGRAM_KEYS,
    "operator": ("runtime",),
    "operators": (),
    "custom": (),
}

NODE_IDENTITY = ("id", "name", "description", "env")

NODE = Vocabulary(
    keys=(*KEYS_BESIDE, *_PROGRAM_KEYS, "runtime", *NODE_IDENTITY),
    noted=_NODE_NOTED,
    refused=_NODE_REFUSED,
    misnomers=dict.fromkeys(("run", "source", "python", "file", "script", "command"), "path"),
)

CUSTOM = Vocabulary(
    keys=("run", "source", "args", "env", "inputs", "outputs"),
    noted={
        **_BUILD,
        "working_directory": "'working_directory' is ignored: "
        "nodes run in the folder of the dataflow file",
        **{key: why for key, why in _NODE_NOTED.items() if key != "build"},
    },
    refused=_NODE_REFUSED,
    misnomers=dict.fromkeys(("path", "python", "file", "command"), "source"),
)

OPERATOR = Vocabulary(
    keys=("id", "name", "description", "python", "module", "inputs", "outputs"),
    noted={**_BUILD, **_not_acted_on(*_LOG_KEYS, *_TYPE_KEYS)},
    refused={"shared-library": _PYTHON_ONLY, "wasm": _PYTHON_ONLY},
    misnomers=dict.fromkeys(("path", "source", "file", "run"), "python"),
)

PYTHON_SOURCE = Vocabulary(
    keys=("source",),
    refused={"conda_env": "remove it and start dora-launch in that environment"},
)

INPUT = Vocabulary(
    keys=("source", "queue_size", "queue_policy", "slot_bytes", "max_held"),
    noted=_not_acted_on("input_timeout"),
    misnomers={"policy": "queue_policy", "queue": "queue_size"},
)
