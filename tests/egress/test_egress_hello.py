"""What a tunnel begins with: TLS that names the tunnel's host, or it is cut. Check 28."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from egress_driving import Way, rules, tunnel, way_out

from opensandbox_jupyter.egress.hello import UNRECOGNIZED_NAME, Misnamed, first_words
from opensandbox_jupyter.egress.policy import DENY_ALL, Destination


def greeting(name: str | None) -> bytes:
    """Return the first bytes of a real TLS client."""
    out = ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    client = context.wrap_bio(ssl.MemoryBIO(), out, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return out.read()


def in_records_of(size: int, data: bytes) -> bytes:
    """Return the same greeting, spread over more records."""
    body = data[5:]
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(data[:3] + len(piece).to_bytes(2, "big") + piece for piece in pieces)


class Sink:
    """A server on 127.0.0.1 that keeps what it hears and answers each piece with ``heard``."""

    def __init__(self) -> None:
        self.heard = b""
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            self.heard += data
            writer.write(b"heard")
        writer.close()


@pytest.fixture
async def sink() -> AsyncIterator[Sink]:
    found = Sink()
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    found.port = server.sockets[0].getsockname()[1]
    yield found
    server.close()


@pytest.fixture
async def way(tmp_path: Path, sink: Sink) -> AsyncIterator[Way]:
    async with way_out(tmp_path, DENY_ALL) as found:
        place = f"127.0.0.1:{sink.port}"
        found.proxy.policy = rules(f"allow a.test:{sink.port}", f"allow {place}")
        found.names.answers["a.test"] = [["127.0.0.1"]]
        yield found


async def through(way: Way, authority: str, *pieces: bytes) -> bytes:
    """Open a tunnel, send the pieces, and return the first bytes that come back."""
    reader, writer = await way.connect()
    writer.write(tunnel(authority))
    await reader.readuntil(b"\r\n\r\n")
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0)
    try:
        return await asyncio.wait_for(reader.read(99), 20)
    finally:
        writer.close()


async def test_tls_that_names_the_host_goes_through(way: Way, sink: Sink) -> None:
    whole = greeting("A.Test")
    for pieces in (
        [whole],
        [whole[:1], whole[1:7], whole[7:]],
        [in_records_of(100, whole)],
    ):
        sink.heard = b""
        assert await through(way, f"a.test:{sink.port}", *pieces) == b"heard"
        assert sink.heard == b"".join(pieces)
    assert await through(way, f"127.0.0.1:{sink.port}", greeting(None)) == b"heard"


@pytest.mark.parametrize("size", [0, 1, 100], ids=str)
@pytest.mark.parametrize(
    ("host", "name"),
    [("a.test", "b.test"), ("a.test", "x.a.test"), ("a.test", None), ("127.0.0.1", "a.test")],
    ids=str,
)
async def test_tls_that_names_another_host_is_cut(
    way: Way, sink: Sink, host: str, name: str | None, size: int
) -> None:
    words = in_records_of(size, greeting(name)) if size else greeting(name)
    assert await through(way, f"{host}:{sink.port}", words) == UNRECOGNIZED_NAME
    assert sink.heard == b""


async def test_a_port_that_a_rule_opened_carries_anything(way: Way, sink: Sink) -> None:
    assert await through(way, f"a.test:{sink.port}", b"SSH-2.0-x\r\n") == b"heard"


async def words(data: bytes, port: int = 443) -> bytes:
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    return await first_words(reader, b"", Destination("a.test", port, 443))


async def test_the_usual_port_carries_nothing_but_tls() -> None:
    hello = greeting("a.test")
    assert await words(hello) == hello
    assert await words(b"") == b""
    for data in (b"SSH-2.0-x\r\n", b"GET / HTTP/1.1\r\n\r\n", b"\x80\x2e\x01\x03\x01"):
        with pytest.raises(Misnamed):
            await words(data)
        assert await words(data, 22) == data


async def test_broken_greetings_are_cut_at_every_byte() -> None:
    whole = greeting("a.test")
    for end in range(1, len(whole)):
        with pytest.raises(Misnamed):
            await words(whole[:end])
    body = whole[9:]
    for end in range(len(body)):
        message = b"\x01" + end.to_bytes(3, "big") + body[:end]
        with pytest.raises(Misnamed):
            await words(b"\x16\x03\x01" + len(message).to_bytes(2, "big") + message)
    endless = b"\x16\x03\x01\x00\x04\x01\xff\xff\xff" + b"\x16\x03\x01\x40\x00" + b"x" * (1 << 14)
    with pytest.raises(Misnamed):
        await words(endless + b"\x16\x03\x01\x40\x00" + b"x" * (1 << 17))
