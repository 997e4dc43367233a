"""What `HOST:PORT` may be."""

from __future__ import annotations

import ipaddress
import re

_LONGEST_NAME = 253
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_SCOPE = re.compile(r"[A-Za-z0-9._-]+")
_NUMBERS = re.compile(r"[0-9.]+")
_LARGEST_PORT = 65535


def endpoint_fault(text: str) -> str | None:
    """Return what is wrong with an endpoint, and how to write it; None: nothing.

    Whether a machine has that address, and what a name means, only the machines know.
    """
    host, colon, port = text.rpartition(":")
    if not colon:
        if _host_fault(text) is None:
            return f"the port is missing: write {text}:7447"
        return "the port is missing"
    if text.count(":") > 1 and not host.startswith("["):
        return _bare_ipv6_fault(text)
    if not port.isascii() or not port.isdigit():
        return f"the port {port!r} is no number"
    if not 1 <= int(port) <= _LARGEST_PORT:
        return f"the port {port} is not one of 1 to {_LARGEST_PORT}"
    return _host_fault(host)


def _bare_ipv6_fault(text: str) -> str:
    """An address of IPv6 has colons itself, so it stands in brackets."""
    host, _, port = text.rpartition(":")
    if _is_ipv6(host) and port.isdigit():
        return f"an IPv6 address stands in brackets: write [{host}]:{port}"
    if _is_ipv6(text):
        return f"an IPv6 address stands in brackets, and the port is missing: write [{text}]:7447"
    return "it has more than one colon"


def _host_fault(host: str) -> str | None:
    if host.startswith("[") or host.endswith("]"):
        inner = host.removeprefix("[").removesuffix("]")
        return None if _is_ipv6(inner) and len(host) == len(inner) + 2 else _no_address(host)
    if _NUMBERS.fullmatch(host):
        try:
            address = ipaddress.IPv4Address(host)
        except ValueError:
            why = "an address of IPv4 has four numbers of 0 to 255, without zeros in front"
            return f"{_no_address(host)}: {why}"
        is_of_many = address.is_multicast or address == ipaddress.IPv4Address("255.255.255.255")
        return f"{host} is an address of many machines, not of one" if is_of_many else None
    labels = host.removesuffix(".").split(".")
    if len(host) > _LONGEST_NAME or not all(map(_LABEL.fullmatch, labels)):
        return f"{host!r} is no name of a machine, and no address"
    return None


def _is_ipv6(text: str) -> bool:
    address, percent, scope = text.partition("%")
    try:
        ipaddress.IPv6Address(address)
    except ValueError:
        return False
    return not percent or _SCOPE.fullmatch(scope) is not None


def _no_address(host: str) -> str:
    return f"{host} is no address"
