"""Reads the name that a TLS client asks for, before anything of what it says is passed on."""

from __future__ import annotations

import asyncio

from opensandbox_jupyter.egress.addresses import Address
from opensandbox_jupyter.egress.names import Unreadable, canonical_name
from opensandbox_jupyter.egress.policy import Destination

__all__ = ["UNRECOGNIZED_NAME", "Misnamed", "first_words"]

UNRECOGNIZED_NAME = b"\x15\x03\x03\x00\x02\x02\x70"
"""The fatal alert by which a TLS client is told that its name is not taken."""
_MOST_BYTES = 64 << 10
_SECONDS = 10.0
_HANDSHAKE = 22
_CLIENT_HELLO = 1
_SERVER_NAME = 0
_HOST_NAME = 0


class Misnamed(Exception):
    """A tunnel begins with something other than what it was opened for."""


async def first_words(
    reader: asyncio.StreamReader, early: bytes, destination: Destination
) -> bytes:
    """Return what a tunnel to ``destination`` begins with, once that is known to be in order.

    Waits without end for the first byte, as for any other of a tunnel. TLS must name the very host
    of the tunnel, and none where the tunnel leads to an address. On the usual port nothing but TLS
    is in order; a port that a rule opened may carry anything.

    Raises:
        Misnamed: it is not in order, or its end does not come.
    """
    data = early or await reader.read(_MOST_BYTES)
    if not data:
        return data
    if data[0] != _HANDSHAKE:
        if destination.port == destination.usual_port:
            raise Misnamed("this is no TLS")
        return data
    try:
        data, hello = await asyncio.wait_for(_greeting(reader, data), _SECONDS)
    except asyncio.TimeoutError as error:
        raise Misnamed("the TLS greeting did not end") from error
    if _named(hello) != _expected(destination.host):
        raise Misnamed("the TLS greeting names another host than the tunnel")
    return data


async def _greeting(reader: asyncio.StreamReader, data: bytes) -> tuple[bytes, bytes]:
    """Return all that was read, and the greeting in it."""
    while (hello := _hello(data)) is None:
        more = await reader.read(_MOST_BYTES) if len(data) < _MOST_BYTES else b""
        if not more:
            raise Misnamed("the TLS greeting is too long, or breaks off")
        data += more
    return data, hello


def _expected(host: str | Address) -> str | None:
    return host if isinstance(host, str) else None


def _hello(data: bytes) -> bytes | None:
    """Return the first handshake message, put together from its records; ``None``: not yet."""
    message, at = b"", 0
    while len(data) >= at + 5:
        size = int.from_bytes(data[at + 3 : at + 5], "big")
        if data[at] != _HANDSHAKE or not size:
            raise Misnamed("a TLS greeting has other records in it")
        if len(data) < at + 5 + size:
            return None
        message += data[at + 5 : at + 5 + size]
        at += 5 + size
        if message[0] != _CLIENT_HELLO:
            raise Misnamed("TLS does not begin with a greeting")
        end = 4 + int.from_bytes(message[1:4], "big")
        if len(message) >= max(4, end):
            return message[4:end]
    return None


class _Fields:
    """Takes one field after the other from bytes."""

    def __init__(self, data: bytes) -> None:
        self._left = data

    def __bool__(self) -> bool:
        return bool(self._left)

    def take(self, size: int) -> bytes:
        if len(self._left) < size:
            raise Misnamed("the TLS greeting is broken")
        taken, self._left = self._left[:size], self._left[size:]
        return taken

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def block(self, size: int) -> _Fields:
        """Return what stands behind a length of ``size`` bytes."""
        return _Fields(self.take(self.number(size)))

    def rest(self) -> bytes:
        return self.take(len(self._left))


def _named(hello: bytes) -> str | None:
    """Return the host that a greeting names, as DNS compares it; ``None``: it names none."""
    fields = _Fields(hello)
    fields.take(2 + 32)  # version, random
    for size in (1, 2, 1):  # session, ciphers, compressions
        fields.block(size)
    found: list[str] = []
    extensions = fields.block(2) if fields else _Fields(b"")
    while extensions:
        kind, content = extensions.number(2), extensions.block(2)
        if kind != _SERVER_NAME:
            continue
        names = content.block(2)
        while names:
            if names.number(1) != _HOST_NAME:
                raise Misnamed("the TLS greeting names something that is no host")
            found.append(_canonical(names.block(2).rest()))
    if len(found) > 1:
        raise Misnamed("the TLS greeting names several hosts")
    return found[0] if found else None


def _canonical(name: bytes) -> str:
    try:
        return canonical_name(name.decode("ascii"))
    except (Unreadable, UnicodeDecodeError) as error:
        raise Misnamed("the TLS greeting names no host") from error
