"""Bodies of known length, which are received past the parser, and uploads from iterables."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from both_colours import Async, Colour
from rude import CHUNKED, OK, Peer, RudeServer, always, once

from opensandbox_jupyter.exceptions import (
    InvalidArgumentException,
    SandboxApiException,
    SandboxConnectionException,
    SandboxTimeoutException,
)
from opensandbox_jupyter.wire.base import Call, Feed, Origin, Part

Rude = Callable[..., RudeServer]
DATA = random.Random(11).randbytes(9_000_001)


def get(server: RudeServer) -> Call:
    return Call("read_file", Origin(server.url), "GET", "/file")


def sized(body: bytes, length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + body


@pytest.mark.parametrize("size", [0, 1, 65_536, 4 << 20, len(DATA)])
async def test_a_body_comes_as_it_was_and_the_connection_goes_on(
    client: Colour, rude: Rude, size: int
) -> None:
    server = rude(always(sized(DATA[:size])))

    assert await client.read(get(server)) == DATA[:size]
    assert await client.stream(get(server)) == DATA[:size]
    assert await client.fetch(get(server)) is not None
    assert server.connections == 1


async def test_a_body_of_unknown_length_is_read_whole(client: Colour, rude: Rude) -> None:
    whole = b"%x\r\n%b\r\n0\r\n\r\n" % (len(DATA), DATA)
    server = rude(once(CHUNKED + whole), once(b"HTTP/1.1 200 OK\r\n\r\n" + DATA))

    assert await client.read(get(server)) == DATA
    assert await client.read(get(server)) == DATA


async def test_more_than_was_said_spoils_the_connection_only(client: Colour, rude: Rude) -> None:
    server = rude(once(sized(DATA) + b"HTTP/1.1 200 OK", linger=True), always(OK))

    assert await client.read(get(server)) == DATA
    assert await client.read(get(server)) == b"ok"
    assert server.connections == 2


@pytest.mark.parametrize("length", [len(DATA) + 1, 1 << 33, 1 << 60])
async def test_a_body_that_is_cut_is_a_broken_connection(
    client: Colour, rude: Rude, length: int
) -> None:
    server = rude(once(sized(DATA, length)))

    with pytest.raises(SandboxConnectionException, match="broke"):
        await client.read(get(server))
    with pytest.raises(SandboxConnectionException, match="broke"):
        await client.stream(get(server))


async def test_an_answer_that_would_not_fit_is_refused_at_its_head(
    client: Colour, rude: Rude
) -> None:
    server = rude(once(sized(b"", 1 << 40), linger=True))

    with pytest.raises(SandboxConnectionException):
        await client.fetch(get(server))


async def test_a_body_that_stands_still_is_given_up(hasty: Colour, rude: Rude) -> None:
    server = rude(once(sized(DATA[:100_000], len(DATA)), linger=True))

    with pytest.raises(SandboxTimeoutException):
        await hasty.read(get(server))


async def test_a_stream_may_have_to_begin_in_time(client: Colour, rude: Rude) -> None:
    server = rude(once(linger=True))
    call = Call("knock", Origin(server.url), "GET", "/", patience=0.1)

    with pytest.raises(SandboxTimeoutException):
        await client.stream(call)


async def test_a_refusal_is_an_error_with_its_text(client: Colour, rude: Rude) -> None:
    server = rude(always(b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\ngone"))

    with pytest.raises(SandboxApiException, match="gone"):
        await client.read(get(server))


def pieces() -> Iterator[bytes]:
    for start in range(0, len(DATA), 700_000):
        yield DATA[start : start + 700_000]


async def later() -> AsyncIterator[bytes]:
    for piece in pieces():
        yield piece


def post(server: RudeServer, feed: Feed) -> Call:
    parts = [Part("file", "f", feed, "application/octet-stream")]
    return Call("write_files", Origin(server.url), "POST", "/up", parts=parts)


@pytest.mark.parametrize("size", [None, len(DATA)])
async def test_feeds_are_sent_as_they_come(client: Colour, rude: Rude, size: int | None) -> None:
    server = rude(always(OK))
    await client.fetch(post(server, Feed(pieces(), size)))
    if isinstance(client, Async):
        await client.fetch(post(server, Feed(later(), size)))

    for request in server.requests:
        head, _, body = request.partition(b"\r\n\r\n")
        assert (b"chunked" in head) == (size is None)
        assert DATA[:700_000] in body
        assert DATA[-100_000:] in body


@pytest.mark.parametrize("difference", [-1, 1])
async def test_a_feed_that_is_not_as_long_as_it_said_is_an_error(
    client: Colour, rude: Rude, difference: int
) -> None:
    server = rude(always(OK))

    with pytest.raises(SandboxConnectionException):
        await client.fetch(post(server, Feed(pieces(), len(DATA) + difference)))
    if isinstance(client, Async):
        with pytest.raises(SandboxConnectionException):
            await client.fetch(post(server, Feed(later(), len(DATA) + difference)))
    assert server.requests == []


async def test_an_error_of_a_feed_is_the_callers_own(client: Colour, rude: Rude) -> None:
    def broken() -> Iterator[bytes]:
        yield b"x"
        raise LookupError("mine")

    server = rude(always(OK))

    with pytest.raises(LookupError, match="mine"):
        await client.fetch(post(server, Feed(broken())))
    assert (await client.fetch(get(server))).body == b"ok"


async def test_the_blocking_client_cannot_wait_for_a_feed(client: Colour, rude: Rude) -> None:
    if isinstance(client, Async):
        return
    with pytest.raises(InvalidArgumentException, match="plain iterables"):
        await client.fetch(post(rude(always(OK)), Feed(later())))


async def test_a_server_that_answers_early_ends_a_feed(client: Colour, rude: Rude) -> None:
    def endless() -> Iterator[bytes]:
        while True:
            yield b"x" * 100_000

    def refuse(peer: Peer) -> None:
        peer.sock.recv(1000)
        peer.say(b"HTTP/1.1 413 Too Large\r\nContent-Length: 4\r\n\r\nmuch")
        peer.linger()

    assert (await client.fetch(post(rude(refuse), Feed(endless())))).status == 413
