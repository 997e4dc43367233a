"""Key tables of both dialects: keys acted on, keys only noted, keys refused."""

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

    def every(self) -> tuple[str, ...]:
        """Return all keys of the table: accepted, noted, refused and misplaced."""
        return (*self.keys, *self.synonyms, *self.noted, *self.refused, *self.misplaced)


LOG_KEYS = (
    "send_stdout_as",
    "send_logs_as",
    "min_log_level",
    "max_log_size",
    "max_rotated_files",
)
TYPE_KEYS = ("input_types", "output_types", "output_metadata", "pattern")
_PYTHON_ONLY = "only Python operators run here"

# Where a node runs, in dora's words.
_DEPLOYMENT = ("deploy", "_unstable_deploy")
_OF_THE_NODE = ("parameters", "enabled", "machine", *_DEPLOYMENT)

ROOT = Vocabulary(
    keys=(
        *("nodes", "machines", "machine", "env", "arguments", "clock"),
        *("strict_types", "type_rules", "version"),
    ),
    synonyms=_DEPLOYMENT,
    noted={
        "communication": "'communication' is not needed, "
        "nodes always exchange samples through shared memory: ignored",
        "debug": "'debug' is not needed, counting costs nothing here: ignored",
        "_unstable_debug": "'_unstable_debug' is not needed, counting costs nothing here: ignored",
        "health_check_interval": "'health_check_interval' is not needed, "
        "a missing heartbeat is noticed at once: ignored",
        "exit_when_nodes_finish": "'exit_when_nodes_finish' is not needed, "
        "timers keep no finished dataflow alive: ignored",
    },
    refused={
        "module": "this file is a module; name it in a dataflow, as 'module: file.yml' of a node",
    },
    misnomers={
        **{"node": "nodes", "args": "arguments", "params": "arguments"},
        **dict.fromkeys(("time", "sim_time", "use_sim_time"), "clock"),
    },
)

_NODE_NOTED = {
    "output_framing": "'output_framing' is not needed, each sample says itself what it is: ignored",
    "shared_memory_pool_size": "'shared_memory_pool_size' is not needed, memory grows with the "
    "samples ('slot_bytes' of an input allocates it at the start): ignored",
}
_NODE_REFUSED = {
    "git": "clone the repository yourself and give 'path'",
    **dict.fromkeys(("branch", "tag", "rev"), "it goes with 'git'; clone the repository yourself"),
    "hub": "install the node's package yourself and give 'path' or 'module'",
    "path_sha256": "nothing is downloaded; check the file yourself and remove the key",
}

# The keys that say what a node runs: each node has exactly one of them, and only some of the
# other keys make sense beside it.
_PROGRAM_KEYS = ("args", "inputs", "outputs", *TYPE_KEYS, "api", "sync", "serves", "calls")
KEYS_BESIDE: Mapping[str, tuple[str, ...]] = {
    "path": _PROGRAM_KEYS,
    "module": _PROGRAM_KEYS,
    "operator": ("runtime",),
    "operators": (),
    "custom": ("api", "sync", "serves", "calls"),
    "ros2": ("inputs", "outputs", *TYPE_KEYS),
}

NODE_IDENTITY = (
    *("id", "name", "description", "env", "build", "parameters", "enabled"),
    *LOG_KEYS,
    "machine",
)

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
    "without_readers",
    "memory_limit",
    "cpu_affinity",
    "nice",
    "priority",
    "spin_us",
    "working_dir",
    "stdin",
)
# dora's words for some of them.
SETTING_SYNONYMS: Mapping[str, str] = {
    "restart": "restart_policy",
    "heartbeat_timeout": "health_check_timeout",
    "stop_grace": "finish_grace_secs",
}

NODE = Vocabulary(
    keys=(*KEYS_BESIDE, *_PROGRAM_KEYS, "runtime", "params", *NODE_IDENTITY, *NODE_SETTINGS),
    synonyms=(*SETTING_SYNONYMS.values(), *_DEPLOYMENT),
    noted=_NODE_NOTED,
    refused=_NODE_REFUSED,
    misnomers=dict.fromkeys(("run", "source", "python", "file", "script", "command"), "path"),
)

CUSTOM = Vocabulary(
    keys=("run", "source", "args", "env", "build", "inputs", "outputs", *LOG_KEYS, *TYPE_KEYS),
    noted={
        "working_directory": "'working_directory' is ignored, as in dora of 2022: nodes run in the "
        "folder of the dataflow file, or in what 'working_dir' beside 'id' says",
        **_NODE_NOTED,
    },
    refused=_NODE_REFUSED,
    misnomers=dict.fromkeys(("path", "python", "file", "command"), "source"),
    misplaced=(*NODE_SETTINGS, *SETTING_SYNONYMS.values(), *_OF_THE_NODE),
)

OPERATOR = Vocabulary(
    keys=(
        *("id", "name", "description", "python", "module", "inputs", "outputs", "build"),
        *LOG_KEYS,
        *TYPE_KEYS,
    ),
    noted={key: why for key, why in _NODE_NOTED.items() if key == "output_framing"},
    refused={"shared-library": _PYTHON_ONLY, "wasm": _PYTHON_ONLY},
    misnomers=dict.fromkeys(("path", "source", "file", "run"), "python"),
    misplaced=(*NODE_SETTINGS, *SETTING_SYNONYMS.values(), *_OF_THE_NODE),
)

PYTHON_SOURCE = Vocabulary(
    keys=("source",),
    refused={"conda_env": "remove it and start dora-launch in that environment"},
)

_OF_DDS = "is left to the robot's DDS: ignored"
ROS2 = Vocabulary(
    keys=(
        *("topic", "message_type", "direction", "topics", "service", "service_type"),
        *("action", "action_type", "role", "qos", "namespace", "node_name", "transport"),
    )
)
ROS2_TOPIC = Vocabulary(keys=("topic", "message_type", "direction", "output", "input", "qos"))
ROS2_QOS = Vocabulary(
    keys=("reliable", "durability", "keep_last", "keep_all"),
    noted={
        key: f"{key!r} {_OF_DDS}" for key in ("liveliness", "lease_duration", "max_blocking_time")
    },
)
ROS2_TRANSPORT = Vocabulary(keys=("kind", "compatibility", "config_uri"))

SYNC = Vocabulary(keys=("slop_ms", "inputs", "depth"), misnomers={"slop": "slop_ms"})

_OF_A_VALUE = {
    **dict.fromkeys(("minimum", "least", "low", "from"), "min"),
    **dict.fromkeys(("maximum", "most", "high", "to"), "max"),
    **dict.fromkeys(("options", "enum", "values", "one_of"), "choices"),
    **dict.fromkeys(("description", "about", "doc"), "help"),
}
PARAMETER = Vocabulary(
    keys=("value", "min", "max", "choices", "help"),
    misnomers={**dict.fromkeys(("default", "initial"), "value"), **_OF_A_VALUE},
)
ARGUMENT = Vocabulary(
    keys=("default", "min", "max", "choices", "help"),
    misnomers={**dict.fromkeys(("value", "initial"), "default"), **_OF_A_VALUE},
)

INPUT = Vocabulary(
    keys=(
        "source",
        "queue_size",
        "queue_policy",
        "slot_bytes",
        "max_held",
        "input_timeout",
        "over_network",
    ),
    misnomers={"policy": "queue_policy", "queue": "queue_size", "network": "over_network"},
    refused={"latched": "it belongs to the output that is read: '- map: {latched: true}' there"},
)

OUTPUT = Vocabulary(
    keys=("latched",),
    misnomers=dict.fromkeys(("latch", "latching", "durability", "transient_local"), "latched"),
)

OVER_NETWORK = Vocabulary(
    keys=("compress", "quality", "max_width", "max_hz", "decode"),
    misnomers={"width": "max_width", "hz": "max_hz", "rate": "max_hz", "jpeg": "compress"},
)

# Each other key of `machines:` is the name of one.
MACHINES_KEYS = ("via", "fleet", "name", "insecure", "tls")
MACHINE = Vocabulary(
    keys=("listen", "optional", "timeout"),
    misnomers={"address": "listen", "addr": "listen", "host": "listen", "port": "listen"},
    refused={
        key: f"it is of all machines: write it beside them, as 'machines: {{{key}: ...}}'"
        for key in MACHINES_KEYS
    },
)

DEPLOY = Vocabulary(
    keys=("machine", "working_dir"),
    noted={
        "labels": "'labels' chooses no machine here, 'dora-launch --machine NAME' does: ignored",
    },
    refused={
        "distribute": "no program is copied at the start; `dora-rt deploy MACHINE` copies the "
        "project beforehand",
    },
)

MODULE_FILE = Vocabulary(keys=("module", "nodes", "build"))
MODULE_HEADER = Vocabulary(keys=("name", "description", "inputs", "inputs_optional", "outputs"))
_INNER = "it belongs to the nodes of the module"
_OF_MODULE_NODES = (
    *("id", "name", "description", "module", "inputs", "params", "machine", "enabled"),
)
MODULE_NODE = Vocabulary(
    keys=_OF_MODULE_NODES,
    refused={key: _INNER for key in (*NODE.keys, *NODE.synonyms) if key not in _OF_MODULE_NODES},
)

TYPE_RULE = Vocabulary(keys=("from", "to"))

# The values of these are for people or for other programs.
_VOCABULARIES = (ROOT, NODE, CUSTOM, OPERATOR)
UNREAD = {"name", "description", "build"} | {
    key for vocabulary in _VOCABULARIES for key in (*vocabulary.noted, *vocabulary.refused)
}.difference(*(vocabulary.keys for vocabulary in _VOCABULARIES))
