"""`dora-rt service`: prints or installs a systemd unit that runs a dataflow at boot."""

from __future__ import annotations

import argparse
import getpass
import pwd
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from dora_rt.cli.command_errors import UsageError
from dora_rt.cli.run_file import add_file_argument, plan_file, read_file
from dora_rt.cli.verb import Verb, exit_codes_help
from dora_rt.errors import LaunchError
from dora_rt.exit_codes import EXIT_ENVIRONMENT, EXIT_FAILED, EXIT_OK, EXIT_USAGE, interrupted_by
from dora_rt.plan.plan import Plan
from dora_rt.runs import NAMESPACE_VARIABLE, namespace_of

_DESCRIPTION = """\
Print or install a systemd unit that runs a dataflow at boot, with the Python of this command. It
counts as started when all nodes are ready, is stopped as by Ctrl-C, and is started again if a
node has failed for good."""

_EXIT_CODES = exit_codes_help(
    {
        EXIT_OK: "well",
        EXIT_FAILED: "systemctl failed",
        EXIT_USAGE: "bad file or usage",
        EXIT_ENVIRONMENT: "the unit cannot be written",
    }
)

_EPILOG = f"""\
examples:
  dora-rt service print dataflow.yml    look at it first
  dora-rt service install dataflow.yml  for this user, without root
  dora-rt service print dataflow.yml --system | sudo tee /etc/systemd/system/robot.service
  dora-rt service install dataflow.yml --machine robot   its part of several machines

With --machine the unit is started again after each end, so that it waits for the other machines
once more; only `systemctl stop` and a wrong file end it.

A unit of the user starts at boot only with `loginctl enable-linger`, once. So that systemd does
not take away shared memory when you log out, a unit of the system needs it as well.

{_EXIT_CODES}"""

_UNIT = """\
[Unit]
Description=dora_rt dataflow {file}
{after}# A dataflow that fails again and again is given up.
StartLimitIntervalSec={window_s}
StartLimitBurst={starts}

[Service]
Type=notify
NotifyAccess=main
ExecStart={command}
WorkingDirectory={folder}
Environment=PYTHONUNBUFFERED=1
{namespace}{identity}# dora-launch stops its nodes itself, in order; what is left then is killed.
KillMode=mixed
TimeoutStartSec={start_s}
TimeoutStopSec={stop_s}
Restart={restart}
RestartSec=5
# Stopped by a signal, as `systemctl stop` does. A wrong file is not tried again.
SuccessExitStatus={stopped}
RestartPreventExitStatus={usage}

[Install]
WantedBy={target}
"""
# By which a unit is known again.
_DESCRIBED = re.compile(r"^Description=dora_rt dataflow (.*)$", re.MULTILINE)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("print", "install"), help="what to do with the unit")
    add_file_argument(parser)
    parser.add_argument(
        "--name", type=_name, help="name of the unit (default: of the file, or of its folder)"
    )
    parser.add_argument(
        "--system", action="store_true", help="a unit of the system, run as this user or --user"
    )
    parser.add_argument("--user", metavar="USER", help="with --system: the user that runs it")
    parser.add_argument(
        "--machine", metavar="NAME", help="run the part of this machine: dora-launch --machine NAME"
    )
    parser.add_argument(
        "--robot", metavar="ROBOT", help="with --machine: which robot, as dora-launch --name ROBOT"
    )
    parser.add_argument("--now", action="store_true", help="with install: also start it now")


def _run(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    descriptor = read_file(
        options.file, environ, machine=options.machine, arguments=options.arguments
    )
    if options.user is not None and not options.system:
        raise UsageError("--user goes with --system: without --system the unit is yours")
    file = options.file.resolve()
    plan = plan_file(file, descriptor, environ, machine=options.machine, robot=options.robot)
    user = None
    if options.system:
        user = options.user or environ.get("SUDO_USER") or getpass.getuser()
    try:
        unit = make_unit(
            plan,
            file,
            user=user,
            namespace=namespace_of(environ),
            part=[*options.arguments, *_part(options.machine, options.robot)],
        )
    except KeyError as error:
        raise UsageError(f"this machine has no user {user!r}") from error
    if options.action == "print":
        print(unit, end="")
        return EXIT_OK
    name = options.name or _default_name(file)
    _check_replaceable(unit, name, environ, is_system=options.system)
    return _install(unit, name, environ, is_system=options.system, is_now=options.now)


def make_unit(
    plan: Plan, file: Path, *, user: str | None, namespace: str, part: Sequence[str]
) -> str:
    """Return the unit of a dataflow.

    Args:
        plan: what it runs.
        file: the dataflow file.
        user: runs a unit of the system; None: it is a unit of this user.
        namespace: the name space of the run; may be empty.
        part: the arguments of the file, and of a dataflow on several machines the options that say
            which one this is.

    Raises:
        KeyError: there is no such user.
    """
    supervisions = [process.supervision for process in plan.processes]
    grace_s = max((one.stop_grace_s for one in supervisions), default=0)
    startup_s = max((one.startup_timeout_s for one in supervisions), default=0)
    command = " ".join(map(_quote, (sys.executable, "-m", "dora_rt", str(file), *part)))
    after = identity = ""
    if user is not None:
        # As its own session has it, so that `dora-rt ps` finds the run.
        uid = pwd.getpwnam(user).pw_uid
        after = f"Wants=user@{uid}.service\nAfter=user@{uid}.service\n"
        if part:
            # Addresses in `listen:` exist only then. A unit of the user cannot wait for it.
            after += "Wants=network-online.target\nAfter=network-online.target\n"
        identity = (
            f"User={user}\nSupplementaryGroups=video\nEnvironment=XDG_RUNTIME_DIR=/run/user/{uid}\n"
        )
    return _UNIT.format(
        file=_escape(str(file)),
        after=after,
        command=command,
        folder=_escape(str(file.parent)),
        # Where `dora-rt ps` of this shell looks.
        namespace=f"Environment={NAMESPACE_VARIABLE}={namespace}\n" if namespace else "",
        identity=identity,
        # The other machines may come in an hour, or never: that is no failure of this one. And
        # each end of the dataflow, as Ctrl-C on the laptop, is the beginning of the next wait;
        # they may follow each other quickly.
        start_s="infinity" if part else f"{startup_s + 30:g}",
        restart="always" if part else "on-failure",
        window_s=60 if part else 300,
        starts=10 if part else 5,
        # Draining and three rungs of the ladder, each with the grace of the slowest node.
        stop_s=f"{4 * grace_s + 5:g}",
        stopped=f"{interrupted_by(signal.SIGINT)} {interrupted_by(signal.SIGTERM)}",
        usage=EXIT_USAGE,
        target="default.target" if user is None else "multi-user.target",
    )


def _part(machine: str | None, robot: str | None) -> list[str]:
    options = {"--machine": machine, "--name": robot}
    return [word for name, value in options.items() if value is not None for word in (name, value)]


def _install(
    unit: str, name: str, environ: Mapping[str, str], *, is_system: bool, is_now: bool
) -> int:
    path = _unit_folder(environ, is_system=is_system) / f"{name}.service"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(unit)
    except OSError as error:
        raise LaunchError(
            f"{path} cannot be written: {error.strerror}; for a unit of the system write "
            f"`dora-rt service print FILE --system | sudo tee {path}`"
        ) from error
    print(f"written: {path}")
    control = ["systemctl"] if is_system else ["systemctl", "--user"]
    enable = [*control, "enable", *(["--now"] if is_now else []), f"{name}.service"]
    for command in ([*control, "daemon-reload"], enable):
        if not _call(command):
            shown = " ".join([*control, "daemon-reload", "&&", *enable])
            print(f"dora-rt: where systemd runs, write: {shown}", file=sys.stderr)
            return EXIT_FAILED
    scope = "" if is_system else "--user "
    print(
        f"it starts at boot; for that, once: loginctl enable-linger\n"
        f"start now:  systemctl {scope}start {name}\n"
        f"look:       systemctl {scope}status {name}, journalctl {scope}-u {name} -f\n"
        f"never more: systemctl {scope}disable --now {name}"
    )
    if not is_system:
        print("cameras: your user must be in the group video (sudo usermod -aG video $USER)")
    return EXIT_OK


def _call(command: list[str]) -> bool:
    if shutil.which(command[0]) is None:
        print("dora-rt: there is no systemctl on this machine", file=sys.stderr)
        return False
    return subprocess.run(command, check=False).returncode == 0


def _unit_folder(environ: Mapping[str, str], *, is_system: bool) -> Path:
    if is_system:
        return Path("/etc/systemd/system")
    config = environ.get("XDG_CONFIG_HOME", "")
    base = Path(config) if config.startswith("/") else Path.home() / ".config"
    return base / "systemd" / "user"


def _check_replaceable(
    unit: str, name: str, environ: Mapping[str, str], *, is_system: bool
) -> None:
    """Refuse to replace a unit of this name that runs something else, as another robot."""
    path = _unit_folder(environ, is_system=is_system) / f"{name}.service"
    try:
        present = path.read_text(errors="replace")
    except FileNotFoundError:
        return
    except OSError as error:
        raise LaunchError(f"{path} cannot be read: {error.strerror}") from error
    other = _dataflow_of(present)
    if other != _dataflow_of(unit):
        runs = "is not of dora_rt" if other is None else f"runs {other.replace('%%', '%')}"
        raise UsageError(
            f"{path} is there already, and {runs}: choose another name with --name, or remove it"
        )


def _dataflow_of(unit: str) -> str | None:
    found = _DESCRIBED.search(unit)
    return None if found is None else found[1]


def _default_name(file: Path) -> str:
    stem = file.parent.name if file.stem == "dataflow" and file.parent.name else file.stem
    name = re.sub(r"[^A-Za-z0-9_.-]", "-", stem).lstrip("-.")
    if re.search(r"[A-Za-z0-9]", name) is None:
        raise UsageError(
            f"a unit cannot be named after {stem!r}, which has no letter from a to z and no digit: "
            "give it a name with --name, such as --name robot"
        )
    return name


def _name(text: str) -> str:
    name = text.removesuffix(".service")
    # At the beginning - is an option of systemctl, and . hides the file.
    if re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name) is None:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a name of a unit: letters, digits, and _ . -, not beginning with . "
            "or -"
        )
    return name


def _escape(text: str) -> str:
    # systemd reads %h and its like in every line.
    return text.replace("%", "%%")


def _quote(word: str) -> str:
    word = _escape(word).replace("$", "$$")
    if re.fullmatch(r"[\w@%+=:,./$-]+", word):
        return word
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'


VERB = Verb(_DESCRIPTION, _EPILOG, _add_arguments, _run)
