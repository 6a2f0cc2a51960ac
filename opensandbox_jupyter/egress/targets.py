"""Reads where a proxy request wants to go. One parser, for CONNECT and for everything else."""

from __future__ import annotations

import re
from dataclasses import dataclass

import h11

from opensandbox_jupyter.egress.judge import Refused
from opensandbox_jupyter.egress.names import Unreadable, parse_authority, shown
from opensandbox_jupyter.egress.policy import Destination

__all__ = ["Target", "end_to_end", "read_inner_target", "read_target"]

_ABSOLUTE = re.compile(r"http://([^/?#\\]+)(/[^#]*|\?[^#]*|)", re.IGNORECASE)
_HOP_BY_HOP = frozenset(
    {
        b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization",
        b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade", b"expect",
    }
)  # fmt: skip
_Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True)
class Target:
    """Where a request goes, and what it asks for there; CONNECT asks for nothing."""

    destination: Destination
    path: str | None

    @property
    def host(self) -> bytes:
        """The only ``Host`` that the destination is told."""
        is_usual = self.destination.port == self.destination.usual_port
        port = "" if is_usual else f":{self.destination.port}"
        return f"{shown(self.destination.host)}{port}".encode("ascii")


def read_target(request: h11.Request) -> Target:
    """Return where ``request`` wants to go.

    Raises:
        Refused: 400, it says so in no or in two ways.
    """
    text = request.target.decode("ascii")
    lengths = [value for name, value in request.headers if name == b"content-length"]
    is_chunked = any(name == b"transfer-encoding" for name, _ in request.headers)
    if is_chunked and lengths:
        raise Refused(400, "A request has a length or is chunked, never both.")
    try:
        if request.method == b"CONNECT":
            if is_chunked or lengths:
                raise Refused(400, "A CONNECT request has no body.")
            host, port = parse_authority(text, None)
            return Target(Destination(host, port, 443), None)
        found = _ABSOLUTE.fullmatch(text)
        if found is None:
            raise Refused(400, "This is a proxy for http:// addresses, and for CONNECT.")
        host, port = parse_authority(found[1], 80)
        for name, value in request.headers:
            if name == b"host" and parse_authority(value.decode("latin-1"), 80) != (host, port):
                raise Refused(400, "The Host header names another host than the address.")
    except Unreadable as error:
        raise Refused(400, str(error)) from error
    path = found[2] if found[2].startswith("/") else f"/{found[2]}"
    return Target(Destination(host, port, 80), path)


def read_inner_target(request: h11.Request, destination: Destination) -> Target:
    """Return what is asked for inside a tunnel that ends here.

    Raises:
        Refused: 400, it is asked for at another host, or not as a server is asked.
    """
    text = request.target.decode("ascii")
    lengths = [value for name, value in request.headers if name == b"content-length"]
    if lengths and any(name == b"transfer-encoding" for name, _ in request.headers):
        raise Refused(400, "A request has a length or is chunked, never both.")
    if not text.startswith("/") or request.method == b"CONNECT":
        raise Refused(400, "A server is asked for a path.")
    for name, value in request.headers:
        if name != b"host":
            continue
        try:
            host, port = parse_authority(value.decode("latin-1"), destination.usual_port)
        except Unreadable as error:
            raise Refused(400, str(error)) from error
        if (host, port) != (destination.host, destination.port):
            raise Refused(400, "The Host header names another host than the tunnel.")
    return Target(destination, text)


def end_to_end(headers: h11._headers.Headers | _Headers) -> _Headers:
    """Return the headers that are meant for the other end."""
    kept = [(bytes(name).lower(), bytes(value)) for name, value in headers]
    named = {
        part.strip().lower()
        for name, value in kept
        if name == b"connection"
        for part in value.split(b",")
    }
    return [(name, value) for name, value in kept if name not in _HOP_BY_HOP | named]
