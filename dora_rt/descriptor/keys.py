"""List the keys of both dialects: those acted on, those only noted, and those refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The keys of one kind of mapping; `noted` and `refused` say why, `misnomers` what is meant.

    `synonyms` are accepted as well; `misplaced` belong to the node around this mapping.
    """

    keys: tuple[str, ...]
    noted: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    misnomers: Mapping[str, str] = field(default_factory=dict)
    synonyms: tuple[str, ...] = ()
    misplaced: tuple[str, ...] = ()


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
    keys=("nodes", "env", "version"),
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
        "shared_memory_pool_size",
        "deploy",
        "_unstable_deploy",
    ),
}
_WORKING_FOLDER = "nodes run in the folder of the dataflow file"
_NODE_REFUSED = {
    "git": "clone the repository yourself and give 'path'",
    "hub": "install the node's package yourself and give 'path' or 'module'",
    "path_sha256": "check the file yourself and remove the key",
    "ros2": "there is no bridge to ROS 2",
    "params": "write the nodes of the module out",
    "working_dir": _WORKING_FOLDER,
}

# The keys that say what a node runs: each node has exactly one of them, and only some of the
# other keys make sense beside it.
_PROGRAM_KEYS = ("args", "api", "inputs", "outputs")
KEYS_BESIDE: Mapping[str, tuple[str, ...]] = {
    "path": _PROGRAM_KEYS,
    "module": _PROGRAM_KEYS,
    "operator": ("runtime",),
    "operators": (),
    "custom": (),
}

NODE_IDENTITY = ("id", "name", "description", "env")

# Of the process in which a node runs, whatever its kind.
NODE_SETTINGS = (
    "restart",
    "max_restarts",
    "restart_delay",
    "max_restart_delay",
    "restart_window",
    "startup_timeout",
    "heartbeat_timeout",
    "stop_grace",
    "on_exit",
    "memory_limit",
    "cpu_affinity",
    "nice",
    "priority",
    "spin_us",
)
# dora's words for some of them.
SETTING_SYNONYMS: Mapping[str, str] = {
    "restart": "restart_policy",
    "heartbeat_timeout": "health_check_timeout",
    "stop_grace": "finish_grace_secs",
}

NODE = Vocabulary(
    keys=(*KEYS_BESIDE, *_PROGRAM_KEYS, "runtime", *NODE_IDENTITY, *NODE_SETTINGS),
    synonyms=tuple(SETTING_SYNONYMS.values()),
    noted=_NODE_NOTED,
    refused=_NODE_REFUSED,
    misnomers=dict.fromkeys(("run", "source", "python", "file", "script", "command"), "path"),
)

CUSTOM = Vocabulary(
    keys=("run", "source", "args", "api", "env", "inputs", "outputs"),
    noted={
        **_BUILD,
        "working_directory": f"'working_directory' is ignored: {_WORKING_FOLDER}",
        **{key: why for key, why in _NODE_NOTED.items() if key != "build"},
    },
    refused=_NODE_REFUSED,
    misnomers=dict.fromkeys(("path", "python", "file", "command"), "source"),
    misplaced=(*NODE_SETTINGS, *SETTING_SYNONYMS.values()),
)

OPERATOR = Vocabulary(
    keys=("id", "name", "description", "python", "module", "inputs", "outputs"),
    noted={**_BUILD, **_not_acted_on(*_LOG_KEYS, *_TYPE_KEYS)},
    refused={"shared-library": _PYTHON_ONLY, "wasm": _PYTHON_ONLY},
    misnomers=dict.fromkeys(("path", "source", "file", "run"), "python"),
    misplaced=(*NODE_SETTINGS, *SETTING_SYNONYMS.values()),
)

PYTHON_SOURCE = Vocabulary(
    keys=("source",),
    refused={"conda_env": "remove it and start dora-launch in that environment"},
)

INPUT = Vocabulary(
    keys=("source", "queue_size", "queue_policy", "slot_bytes", "max_held", "input_timeout"),
    misnomers={"policy": "queue_policy", "queue": "queue_size"},
)

# What stands behind these is for people, for other programs or for nobody.
_VOCABULARIES = (ROOT, NODE, CUSTOM, OPERATOR)
UNREAD = {"name", "description"} | {
    key for vocabulary in _VOCABULARIES for key in (*vocabulary.noted, *vocabulary.refused)
}.difference(*(vocabulary.keys for vocabulary in _VOCABULARIES))
