"""`dora-rt deploy`: copies a project to another machine of its dataflow, by ssh and rsync."""

from __future__ import annotations

import argparse
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from dora_rt import __version__
from dora_rt.cli.command_errors import UsageError
from dora_rt.cli.run_file import read_file
from dora_rt.cli.verb import Verb, exit_codes_help
from dora_rt.descriptor.tree.model import Descriptor
from dora_rt.errors import LaunchError
from dora_rt.exit_codes import EXIT_ENVIRONMENT, EXIT_FAILED, EXIT_OK, EXIT_USAGE

IGNORE_FILE = ".deployignore"

# Exit statuses of rsync where ssh has failed, or the shell there has not found rsync.
_NO_CONNECTION = (12, 127, 255)

# What each machine has of its own, and what grows by itself.
_LEFT_OUT = (
    ".git/",
    ".venv/",
    "venv/",
    "__pycache__/",
    ".mypy_cache/",
    ".pytest_cache/",
    ".ruff_cache/",
    "*.egg-info/",
)

_DESCRIPTION = f"""\
Copy a project to another machine of its dataflow, by ssh and rsync, and check it there. Only what
differs is sent. Each machine keeps its own .venv; what {IGNORE_FILE} names is left out as well, a
pattern of rsync in each line."""

_EXIT_CODES = exit_codes_help(
    {
        EXIT_OK: "it is there",
        EXIT_FAILED: "ssh, rsync or the check there failed",
        EXIT_USAGE: "bad file or usage",
        EXIT_ENVIRONMENT: "no ssh or rsync",
    }
)

_EPILOG = f"""\
examples:
  dora-rt deploy robot --dry-run        show what would be copied
  dora-rt deploy robot                  the folder of dataflow.yml
  dora-rt deploy robot flow.yml --to ann@192.168.1.20
  dora-rt deploy robot --to pi@robot.local:work/demo

Without --to the machine is reached as `ssh MACHINE`: give it this name in ~/.ssh/config. The folder
has the same name there, in your home. Files that are only there stay, without --delete.

{_EXIT_CODES}"""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a project is copied to; `folder` is relative to the home there, or absolute."""

    host: str
    folder: str

    @property
    def address(self) -> str:
        """Return it as rsync takes it."""
        user, at, host = self.host.rpartition("@")
        return f"{user}{at}{f'[{host}]' if ':' in host else host}:{self.folder}/"


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("machine", metavar="MACHINE", help="its name in the dataflow file")
    parser.add_argument(
        "file",
        type=Path,
        metavar="FILE",
        nargs="?",
        default=Path("dataflow.yml"),
        help="the dataflow file (default: dataflow.yml)",
    )
    parser.add_argument(
        "--to", metavar="[USER@]HOST[:FOLDER]", help="where it is, as ssh and rsync take it"
    )
    parser.add_argument(
        "--folder",
        type=Path,
        metavar="FOLDER",
        help="what is copied (default: the folder of the file)",
    )
    parser.add_argument(
        "--delete", action="store_true", help="delete there what is not here (not what is left out)"
    )
    parser.add_argument(
        "-n", "--dry-run", action="store_true", help="only show what would be copied"
    )


def _run(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    descriptor = read_file(options.file, environ, machine=options.machine)
    file = options.file.resolve()
    folder = (options.folder or file.parent).resolve()
    if not file.is_relative_to(folder):
        raise UsageError(f"{file} is not in {folder}, which --folder names")
    there = file.relative_to(folder)
    target = parse_target(options.to or options.machine, folder.name)
    for node, path in outside_of(descriptor, options.machine, file.parent, folder):
        print(
            f"note: node {node} runs {path}, which is not copied: choose a folder that has both "
            "with --folder",
            file=sys.stderr,
        )
    for program in ("ssh", "rsync"):
        if shutil.which(program, path=environ.get("PATH")) is None:
            package = {"ssh": "openssh-client"}.get(program, program)
            raise LaunchError(
                f"there is no {program} on this machine: sudo apt install {package} (rsync is "
                "needed on both machines)"
            )
    copy = rsync_command(folder, target, is_dry=options.dry_run, deletes=options.delete)
    print(f"copying {folder} to {target.address}", flush=True)
    # rsync makes the last folder of a path, and --mkpath is too new for many a robot.
    if "/" in target.folder and not options.dry_run and not _make_folder(target):
        return EXIT_FAILED
    print(f"$ {shlex.join(copy)}", flush=True)
    # Both ask for passwords on the terminal of this command, as ssh does.
    if (status := subprocess.run(copy, check=False).returncode) != 0:
        print(f"dora-rt: rsync failed (exit status {status}){_why(status)}", file=sys.stderr)
        return EXIT_FAILED
    if options.dry_run:
        print("nothing was copied: it was a dry run")
        return EXIT_OK
    if not check_there(target, there, options.machine):
        return EXIT_FAILED
    print(
        f"start it there: ssh {target.host}, then: cd {shlex.quote(target.folder)} && "
        f"dora-launch {shlex.quote(str(there))} --machine {options.machine}"
    )
    return EXIT_OK


def parse_target(text: str, folder: str) -> Target:
    """Read `[USER@]HOST[:FOLDER]`, where an IPv6 address stands in brackets.

    Raises:
        UsageError: it is none.
    """
    found = re.fullmatch(r"((?:[^@\s:\[]+@)?)(?:\[([^\]\s]+)\]|([^@:\s\[\]/]+))(?::(.*))?", text)
    # An option of ssh could name a program to run.
    if found is None or text.startswith("-") or (found[3] or found[2]).startswith("-"):
        raise UsageError(f"{text!r} is no [USER@]HOST[:FOLDER], such as ann@192.168.1.20:robot")
    # rsync and cd would see the name ~ otherwise, quoted as it is.
    path = re.sub(r"^~(/|$)", "", found[4] or "") or folder
    if path.startswith("~"):
        raise UsageError(f"{text!r}: name the folder from / or from your home there, without ~")
    return Target(f"{found[1]}{found[2] or found[3]}", str(PurePosixPath(path)))


def outside_of(
    descriptor: Descriptor, machine: str, base: Path, folder: Path
) -> Iterator[tuple[str, Path]]:
    """Yield the nodes of a machine that run files outside of a folder, each with such a file.

    Args:
        descriptor: the dataflow.
        machine: only its nodes count.
        base: the folder of the dataflow file, at which paths begin.
        folder: what is copied.
    """
    for node in descriptor.nodes:
        if node.machine != machine:
            continue
        for part in (node.program, *node.operators):
            if part is None or part.path is None:
                continue
            path = base / part.path
            # A name without a file is a command, which each machine has of its own.
            if path.is_file() and not path.resolve().is_relative_to(folder):
                yield node.id, path.resolve()


def rsync_command(folder: Path, target: Target, *, is_dry: bool, deletes: bool) -> list[str]:
    """Return the command that copies a folder.

    Args:
        folder: what is copied.
        target: where to.
        is_dry: whether it only lists what it would copy.
        deletes: whether files go there that are not here.
    """
    command = ["rsync", "--archive", "--compress", "--protect-args", "--itemize-changes"]
    # The clocks and the owners of the machines differ; only contents and modes count.
    command += ["--no-owner", "--no-group", "--checksum"]
    command += [f"--exclude={pattern}" for pattern in _LEFT_OUT]
    if (folder / IGNORE_FILE).is_file():
        command.append(f"--exclude-from={folder / IGNORE_FILE}")
    if deletes:
        command.append("--delete")
    if is_dry:
        command.append("--dry-run")
    return [*command, "--", f"{folder}/", target.address]


def check_command(target: Target, file: Path, machine: str) -> list[str]:
    """Return the command that checks a dataflow where it was copied to.

    The shell of the user there may be any; it starts `sh`, which looks for a `.venv` in the folder
    first.
    """
    check = shlex.join(["check", str(file), "--machine", machine])
    script = (
        f"cd -- {shlex.quote(target.folder)} || exit\n"
        "rt=dora-rt\n"
        "[ ! -x .venv/bin/dora-rt ] || rt=.venv/bin/dora-rt\n"
        'command -v "$rt" > /dev/null || exit 127\n'
        f'"$rt" --version && exec "$rt" {check}'
    )
    return ["ssh", "--", target.host, shlex.join(["sh", "-c", script])]


def _make_folder(target: Target) -> bool:
    make = shlex.join(["mkdir", "-p", "--", target.folder])
    status = subprocess.run(["ssh", "--", target.host, make], check=False).returncode
    if status != 0:
        print(
            f"dora-rt: {target.folder} cannot be made on {target.host} (ssh: exit status {status})",
            file=sys.stderr,
        )
    return status == 0


def check_there(target: Target, file: Path, machine: str) -> bool:
    """Have the dora-rt of another machine check its copy of a file; say what it found.

    Args:
        target: where the copy is.
        file: the dataflow file, as its path is in the project.
        machine: which machine that is.
    """
    done = subprocess.run(
        check_command(target, file, machine), stdout=subprocess.PIPE, text=True, check=False
    )
    version, _, found = done.stdout.partition("\n")
    if done.returncode == 127:
        print(
            f"dora-rt: copied, but there is no dora-rt on {target.host}: install dora_rt there, in "
            f"{target.folder}/.venv or for all of your programs, with its extra `network`",
            file=sys.stderr,
        )
        return False
    if done.returncode != 0:
        print(found, end="")
        print(f"dora-rt: copied, but it cannot run on {target.host}, see above", file=sys.stderr)
        return False
    # Whether its hot path is compiled does not matter.
    if version.partition(" (")[0] != f"dora_rt {__version__}":
        print(
            f"dora-rt: copied, but {target.host} has {version}, and this machine dora_rt "
            f"{__version__}: install the same on both",
            file=sys.stderr,
        )
        return False
    print(f"copied; {file} is fine there, with {version}")
    return True


def _why(status: int) -> str:
    if status in _NO_CONNECTION:
        return ": can you log in with ssh, and is rsync installed there? (sudo apt install rsync)"
    return ""


VERB = Verb(_DESCRIPTION, _EPILOG, _add_arguments, _run)
