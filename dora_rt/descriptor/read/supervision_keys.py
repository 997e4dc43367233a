"""Read how a node is looked after, and what its process may use."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from dora_rt.descriptor.tree.document import Kind, YamlScalar, YamlSequence, YamlValue, describe
from dora_rt.descriptor.tree.fields import Fields
from dora_rt.descriptor.tree.home_folder import NO_HOME, with_home
from dora_rt.descriptor.tree.host import Host
from dora_rt.descriptor.tree.identifiers import expected_string
from dora_rt.descriptor.tree.keys import SETTING_SYNONYMS
from dora_rt.descriptor.tree.model import Place, RestartPolicy
from dora_rt.descriptor.tree.problems import MalformedError, Problems, listing, quote
from dora_rt.descriptor.tree.quantities import parse_duration_s, parse_integer, parse_nbytes

MAX_RESTARTS = 10_000
MAX_CORE = 4095
MIN_MEMORY_NBYTES = 16 * 1024**2
MAX_MEMORY_NBYTES = 1024 * 1024**3
MAX_SPIN_US = 1_000_000

_HOUR_S = 3600.0
_DAY_S = 24 * _HOUR_S
_WITHOUT_READERS = (
    "without 'without_readers', a dataflow ends when only sources without readers are left"
)
_POLICIES = {policy.value: policy for policy in RestartPolicy} | {
    "on_failure": RestartPolicy.ON_FAILURE
}

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Setting:
    """One value that the file gives, with the key as it is written there, and of which node."""

    value: Any
    key: str
    node: str
    place: Place


# By their names in `Supervision` and `Resources`; only those in the file.
Settings = Mapping[str, Setting]


def read_settings(fields: Fields, node: str, host: Host, problems: Problems) -> Settings:
    """Read the settings of one node, each for itself."""
    read = partial(_read, fields, node, problems)
    day = partial(parse_duration_s, greatest_s=_DAY_S)
    found = {
        "restart": read("restart", _parse_policy),
        "max_restarts": read(
            "max_restarts", partial(parse_integer, least=0, greatest=MAX_RESTARTS)
        ),
        "restart_delay_s": read(
            "restart_delay", partial(parse_duration_s, least_s=0, greatest_s=_HOUR_S)
        ),
        "max_restart_delay_s": read(
            "max_restart_delay", partial(parse_duration_s, least_s=0, greatest_s=_HOUR_S)
        ),
        "restart_window_s": read("restart_window", partial(day, least_s=0.1)),
        "startup_timeout_s": read("startup_timeout", partial(day, least_s=0.1)),
        "heartbeat_timeout_s": read("heartbeat_timeout", partial(day, least_s=0.1)),
        "stop_grace_s": read("stop_grace", partial(parse_duration_s, least_s=0, greatest_s=600)),
        "stops_all": read(
            "on_exit",
            partial(_parse_word, word="stop_all", hint="without 'on_exit', the other nodes go on"),
        ),
        "goes_on_unread": read(
            "without_readers", partial(_parse_word, word="go_on", hint=_WITHOUT_READERS)
        ),
        "memory_limit_nbytes": read(
            "memory_limit",
            partial(parse_nbytes, least=MIN_MEMORY_NBYTES, greatest=MAX_MEMORY_NBYTES),
        ),
        "cpu_affinity": read("cpu_affinity", partial(_parse_cores, existing=host.cores)),
        "nice": read("nice", partial(parse_integer, least=-20, greatest=19)),
        "priority": read("priority", partial(parse_integer, least=1, greatest=99)),
        "spin_us": read("spin_us", partial(parse_integer, least=0, greatest=MAX_SPIN_US)),
        "has_terminal": read(
            "stdin", partial(_parse_word, word="terminal", hint="without 'stdin', it is empty")
        ),
        "working_dir": read("working_dir", partial(_parse_folder, base=host.folder)),
    }
    settings = {name: setting for name, setting in found.items() if setting is not None}
    _note_useless_limit(settings.get("memory_limit_nbytes"), host, problems)
    return settings


def _read(
    fields: Fields, node: str, problems: Problems, key: str, parse: Callable[[YamlValue], T]
) -> Setting | None:
    synonym = SETTING_SYNONYMS.get(key)
    if synonym is not None and fields.has(synonym):
        if fields.has(key):
            what = f"{fields.owner} has both {quote(key)} and {quote(synonym)}"
            problems.add(fields.key_place(synonym), what, "keep one of them")
        key = synonym
    value = fields.parsed(key, parse)
    return None if value is None else Setting(value, key, node, fields.key_place(key))


def _parse_policy(value: YamlValue) -> RestartPolicy:
    # The kind is no matter: quoting 'no' or 'on' would not make a policy of it.
    policy = _POLICIES.get(value.text) if isinstance(value, YamlScalar) else None
    if policy is None:
        got = quote(value.text) if isinstance(value, YamlScalar) else describe(value)
        raise MalformedError(f"expected never, on-failure or always, got {got}")
    return policy


def _parse_word(value: YamlValue, word: str, hint: str) -> bool:
    """Return True: the key has only this word, and is left out for what `hint` says."""
    if not isinstance(value, YamlScalar) or value.text != word:
        got = quote(value.text) if isinstance(value, YamlScalar) else describe(value)
        raise MalformedError(f"expected {word}, got {got}", hint)
    return True


def _parse_cores(value: YamlValue, existing: tuple[int, ...] | None) -> tuple[int, ...]:
    if not isinstance(value, YamlSequence) or not value.items:
        got = "an empty list" if isinstance(value, YamlSequence) else describe(value)
        raise MalformedError(f"expected a list of cores such as [0, 1], got {got}")
    cores = sorted({parse_integer(item, 0, MAX_CORE) for item in value.items})
    missing = [str(core) for core in cores if existing is not None and core not in existing]
    if missing and existing is not None:
        what = f"core {missing[0]} does" if len(missing) == 1 else f"cores {listing(missing)} do"
        raise MalformedError(
            f"{what} not exist", f"this computer has {listing(str(core) for core in existing)}"
        )
    return tuple(cores)


def _parse_folder(value: YamlValue, base: Path | None) -> str:
    if not isinstance(value, YamlScalar) or value.kind is not Kind.STRING:
        raise MalformedError(expected_string(value))
    path = with_home(value.text)
    if not path.strip() or "\0" in path:
        raise MalformedError(f"{quote(path)} is not the name of a folder")
    if base is None:
        return path
    folder = base / path
    try:
        is_folder = stat.S_ISDIR(folder.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        hint = NO_HOME if path.startswith("~") else f"paths begin at {base}"
        raise MalformedError(f"no such folder: {quote(path)}", hint) from None
    except OSError as error:
        raise MalformedError(f"cannot look at {quote(path)}: {error.strerror}") from None
    if not is_folder:
        raise MalformedError(f"{quote(path)} is not a folder", "name the folder it is in")
    if not os.access(folder, os.X_OK):
        raise MalformedError(
            f"{quote(path)} may not be entered", f"run: chmod +x {shlex.quote(str(folder))}"
        )
    return path


def _note_useless_limit(setting: Setting | None, host: Host, problems: Problems) -> None:
    if setting is not None and host.memory_nbytes is not None:
        nbytes: int = setting.value
        if nbytes > host.memory_nbytes:
            problems.note(
                setting.place,
                f"{quote(setting.key)} of node {quote(setting.node)} is more than all memory of "
                f"this computer, {host.memory_nbytes / 1024**3:.1f} GiB",
            )
