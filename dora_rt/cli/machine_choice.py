"""Which machine of a dataflow this one is: the options `--machine` and `--name`."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from dora_rt.cli.command_errors import UsageError
from dora_rt.descriptor import expand_dataflow
from dora_rt.descriptor.tree.model import Descriptor, Machines
from dora_rt.errors import ExtraMissingError
from dora_rt.network.gateway_plan import Security
from dora_rt.plan.machine_part import Membership
from dora_rt.spelling import closest

_MISSING_EXTRA = (
    "several machines need eclipse-zenoh, which is not installed: pip install 'dora_rt[network]'"
)
# What the names on the network may not have in them.
_FOREIGN = re.compile(r"[^A-Za-z0-9_.-]")
_DEFAULT_ROBOT = "default"


def check_machine(descriptor: Descriptor, machine: str) -> None:
    """Check that a dataflow has a machine.

    Raises:
        UsageError: it has none of that name.
    """
    if descriptor.machines is None:
        raise UsageError(
            f"--machine {machine}: {descriptor.file} has no 'machines': all its nodes run on one"
        )
    names = descriptor.machines.names()
    if machine not in names:
        match = closest(machine, names)
        hint = f"did you mean {match!r}?" if match else f"its machines are: {', '.join(names)}"
        raise UsageError(f"--machine {machine}: {descriptor.file} has no such machine; {hint}")


def find_membership(
    file: Path,
    descriptor: Descriptor,
    environ: Mapping[str, str],
    *,
    machine: str,
    robot: str | None,
    is_started: bool,
) -> Membership:
    """Return what the gateway of a machine is told beside the dataflow.

    Args:
        file: the dataflow file.
        descriptor: its content.
        environ: says where the certificates of this user are.
        machine: the machine.
        robot: the name of the robot; None: what the file says.
        is_started: whether it is going to run, for which packages and certificates must be there.

    Raises:
        UsageError: the robot needs another name.
        LaunchError: the certificates of this machine are missing, or it may not listen where the
            file says.
        ExtraMissingError: the package that speaks to other machines is not installed.
    """
    machines = descriptor.machines
    assert machines is not None, "checked when the file was read"
    if is_started:
        if find_spec("zenoh") is None:
            raise ExtraMissingError(_MISSING_EXTRA)
        # Only here, as the other modules of the network: most dataflows have one machine.
        from dora_rt.network.listening import check_listening

        own = next(one for one in machines.members if one.name == machine)
        check_listening(() if machines.via else own.listen, waits=True)
    robot = robot or machines.robot
    if robot is None and machines.via:
        # On a shared router the machines of two robots would be taken for each other's.
        raise UsageError(
            f"{descriptor.file} goes over a router: say which robot this is, by --name, or by "
            "'name' in 'machines'"
        )
    if robot is not None and _FOREIGN.search(robot):
        raise UsageError(f"--name {robot}: use a-z, A-Z, 0-9, '_', '-' and '.'")
    robot = robot or _DEFAULT_ROBOT
    return Membership(
        machine=machine,
        robot=robot,
        flow=_FOREIGN.sub("_", file.stem) or "_",
        # Without comments and with its modules; variables may differ between the machines.
        file_sha256=hashlib.sha256(expand_dataflow(file).encode()).hexdigest(),
        security=_find_security(file, machines, environ, machine, robot)
        if is_started
        else Security(is_insecure=machines.is_insecure),
    )


def _find_security(
    file: Path, machines: Machines, environ: Mapping[str, str], machine: str, robot: str
) -> Security:
    from dora_rt.network.session_config import is_loopback

    endpoints = [*machines.via, *(one for member in machines.members for one in member.listen)]
    if machines.tls_folder is None and all(map(is_loopback, endpoints)):
        return Security(is_insecure=machines.is_insecure)
    if machines.is_insecure:
        return Security(is_insecure=True)
    from dora_rt.network.certificates import find_security

    folder = None
    if machines.tls_folder is not None:
        folder = file.resolve().parent / machines.tls_folder
    return find_security(folder, machine, is_insecure=False, environ=environ, robot=robot)
