"""Host names in their one spelling. What has another spelling of an address in it is no name."""

from __future__ import annotations

import re
from ipaddress import IPv6Address

import idna

from opensandbox_jupyter.egress.addresses import Address, parse_address

__all__ = ["Unreadable", "canonical_host", "canonical_name", "parse_authority", "shown"]

_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PORT = re.compile(r"[0-9]{1,5}")


class Unreadable(ValueError):
    """Something is no host, no authority, no rule. The text is one sentence."""


def canonical_name(text: str) -> str:
    """Return a domain name as DNS compares it: lower case, ASCII, no dot at the end.

    Raises:
        Unreadable: it is none, or it is another spelling of an address.
    """
    if not text.isascii():
        try:
            text = idna.encode(text, uts46=True, std3_rules=True).decode("ascii")
        except idna.IDNAError as error:
            raise Unreadable(f"{text[:80]!r} is no host name.") from error
    name = text.lower().removesuffix(".")
    labels = name.split(".")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise Unreadable(f"{text[:80]!r} is no host name.")
    if _NUMBER.fullmatch(labels[-1]):
        raise Unreadable(f"{text[:80]!r} is an odd spelling of an address.")
    return name


def canonical_host(text: str) -> str | Address:
    """Return an address, or a name as :func:`canonical_name` does.

    Raises:
        Unreadable: it is neither.
    """
    if text.startswith("[") and text.endswith("]"):
        found = parse_address(text[1:-1])
        if found is None or ":" not in text:
            raise Unreadable(f"{text[:80]!r} is no IPv6 address.")
        return found
    address = parse_address(text.removesuffix(".")) if ":" not in text else None
    return address if address is not None else canonical_name(text)


def parse_authority(text: str, default_port: int | None) -> tuple[str | Address, int]:
    """Return the host and port of ``host[:port]``, as a request names them.

    Args:
        default_port: the port when none is given; ``None`` when one must be.

    Raises:
        Unreadable: it is no host and port.
    """
    bracket = text.rfind("]")
    colon = text.find(":", bracket + 1)
    host, port = (text, None) if colon < 0 else (text[:colon], text[colon + 1 :])
    if port is None:
        if default_port is None:
            raise Unreadable(f"{text[:80]!r} names no port.")
        return canonical_host(host), default_port
    if not _PORT.fullmatch(port) or not 1 <= int(port) <= 65_535:
        raise Unreadable(f"{text[:80]!r} has no port from 1 to 65535.")
    return canonical_host(host), int(port)


def shown(host: str | Address) -> str:
    """Return a host as it stands in a URL."""
    return f"[{host}]" if isinstance(host, IPv6Address) else str(host)
