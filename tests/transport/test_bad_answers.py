"""Every bad answer, for every kind of call, with every client: one typed error that says all.

``ANSWERS`` is the table: a new case is one line.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx
import pytest
from both_colours import Async, Blocking, Colour
from rude import CHUNKED, Peer, RudeServer, once

from opensandbox_jupyter.exceptions import (
    MalformedAnswerException,
    SandboxApiException,
    SandboxConnectionException,
    SandboxException,
    SandboxRateLimitException,
    SandboxTimeoutException,
)
from opensandbox_jupyter.retry import JitterMode, RetryPolicy
from opensandbox_jupyter.wire import events
from opensandbox_jupyter.wire.base import Call, Operation, Origin, Part
from opensandbox_jupyter.wire.errors import expect
from opensandbox_jupyter.wire.execution import ExecutionReader
from opensandbox_jupyter.wire.opensandbox import OpenSandbox

Rude = Callable[..., RudeServer]
ID = "r-17"


def answer(status: int, body: bytes = b"", *headers: str, length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    lines = [f"HTTP/1.1 {status} X", f"X-Request-ID: {ID}", f"Content-Length: {size}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def error(status: int, **more: Any) -> bytes:
    return answer(status, json.dumps({"code": "C::D", "message": "said so", **more}).encode())


# -- kinds of call ---------------------------------------------------------------------------------


def _upload(origin: Origin) -> Operation[None]:
    parts = [Part("file", "f", b"x" * 100_000, "text/plain")]
    call = Call("write_files", origin, "POST", "/up", parts=parts)
    expect(call, (yield call))


async def unary(client: Colour, origin: Origin) -> object:
    return await client.carry(OpenSandbox().get(origin, "a"))


async def listing(client: Colour, origin: Origin) -> object:
    from opensandbox_jupyter.models.filesystem import DirectoryListEntry

    entry = DirectoryListEntry(path="/")
    return await client.carry(OpenSandbox().list_directory(origin, entry))


async def upload(client: Colour, origin: Origin) -> object:
    return await client.carry(_upload(origin))


async def download(client: Colour, origin: Origin) -> object:
    return await client.read(OpenSandbox().download(origin, "/f"))


async def chunks(client: Colour, origin: Origin) -> object:
    return await client.stream(OpenSandbox().download(origin, "/f"))


async def command(client: Colour, origin: Origin) -> object:
    reader = ExecutionReader()
    call = OpenSandbox().run(origin, "true", None)
    await client.feed(call, reader.feed)
    return reader.finish()


async def socket(client: Colour, origin: Origin) -> object:
    call = OpenSandbox().pty_attach(origin, "s", since=0, takeover=False, pipes=False)
    return await client.connect(call)


KINDS: dict[str, tuple[Callable[[Colour, Origin], Awaitable[object]], str]] = {
    "unary": (unary, "get_sandbox"),
    "listing": (listing, "list_directory"),
    "upload": (upload, "write_files"),
    "download": (download, "read_file"),
    "chunks": (chunks, "read_file"),
    "command": (command, "run_command"),
    "socket": (socket, "attach_pty"),
}
BRISK = RetryPolicy(initial_backoff=timedelta(milliseconds=1), jitter=JitterMode.NONE)
"""Tries as often as by default, with hardly a pause."""
READ_AS_JSON = ("unary", "listing")
READ_AS_BYTES = ("download", "chunks")


# -- what servers answer ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Bad:
    """An answer, and the error that each kind of call makes of it; ``None`` for a good answer."""

    pieces: tuple[bytes, ...]
    kind: type[SandboxException]
    status: int | None = None
    code: str | None = None
    good_for: tuple[str, ...] = ()
    instead: tuple[tuple[str, type[SandboxException]], ...] = ()


def refused(status: int, kind: type[SandboxException] = SandboxApiException) -> Bad:
    return Bad((error(status),), kind, status, "C::D")


BOMB = gzip.compress(b"\0" * 50_000_000)
BROKEN, MALFORMED = SandboxConnectionException, MalformedAnswerException
NO_SOCKET = (("socket", SandboxException),)
NOTHING_COMES = (*NO_SOCKET, ("command", BROKEN))
ANSWERS = {
    **{str(s): refused(s) for s in (302, 307, 400, 401, 403, 404, 409, 413, 418, 500, 502, 503)},
    "429": refused(429, SandboxRateLimitException),
    "407 of a proxy": refused(407),
    "a page": Bad((answer(502, b"<html>Bad Gateway", "Content-Type: text/html"),),
                  SandboxApiException, 502, "UNEXPECTED_RESPONSE"),
    "an error without a body": Bad((answer(500),), SandboxApiException, 500),
    "an error in no UTF-8": Bad((answer(500, b"\xff\xfe{"),), SandboxApiException, 500),
    "an error of another shape": Bad((answer(500, b'{"code": 5, "message": ["x"]}'),),
                                     SandboxApiException, 500, "UNEXPECTED_RESPONSE"),
    "a deep error": Bad((answer(500, b"[" * 60_000),), SandboxApiException, 500),
    "a page for an answer": Bad((answer(200, b"<html>Hello", "Content-Type: text/html"),),
        MALFORMED, 200, good_for=("upload", *READ_AS_BYTES), instead=NO_SOCKET),
    "JSON of another shape": Bad((answer(200, b'{"id": 5}'),), MALFORMED, 200,
        good_for=("upload", *READ_AS_BYTES), instead=NOTHING_COMES),
    "half of the JSON": Bad((answer(200, b'{"id": "a", '),), MALFORMED, 200,
        good_for=("upload", *READ_AS_BYTES), instead=NOTHING_COMES),
    "no UTF-8": Bad((answer(200, b'{"id": "\xff\xfe"}'),), MALFORMED, 200,
        good_for=("upload", *READ_AS_BYTES), instead=NOTHING_COMES),
    "a number beyond all": Bad((answer(200, b"[1e999999, " + b"9" * 10_000 + b"]"),), MALFORMED,
        200, good_for=("upload", *READ_AS_BYTES), instead=NOTHING_COMES),
    "an empty answer": Bad((answer(200),), MALFORMED, 200, good_for=("upload", *READ_AS_BYTES),
                           instead=NOTHING_COMES),
    "204 for a body": Bad((b"HTTP/1.1 204 X\r\nX-Request-ID: r-17\r\n\r\n",), SandboxApiException,
                          204, good_for=("upload",)),
    "nothing": Bad((b"",), BROKEN),
    "a cut head": Bad((b"HTTP/1.1 200 OK\r\nContent-Le",), BROKEN),
    "a cut body": Bad((answer(200, b'{"id', length=100),), BROKEN, instead=NO_SOCKET),
    "a cut chunk": Bad((CHUNKED + b"5\r\nab",), BROKEN, instead=NO_SOCKET),
    "a chunk of no size": Bad((CHUNKED + b"zz\r\nab\r\n",), BROKEN, instead=NO_SOCKET),
    "a cut error": Bad((answer(500, b"{", length=100),), BROKEN, instead=NO_SOCKET),
    "another protocol": Bad((b"SSH-2.0-OpenSSH_9.6\r\n",), BROKEN),
    "binary": Bad((bytes(range(256)) * 10,), BROKEN),
    "two lengths": Bad((b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc",),
                       BROKEN, instead=NO_SOCKET),
    "an endless head": Bad((b"HTTP/1.1 200 OK\r\nX: " + b"x" * 300_000 + b"\r\n\r\n",), BROKEN),
    "a bomb": Bad((answer(200, BOMB, "Content-Encoding: gzip"),), BROKEN, instead=NO_SOCKET),
    "a bomb for an error": Bad((answer(500, BOMB, "Content-Encoding: gzip"),), BROKEN,
                               instead=NO_SOCKET),
    "another coding": Bad((answer(200, b"abc", "Content-Encoding: br"),), BROKEN,
                          instead=NO_SOCKET),
    "a length beyond all": Bad((answer(200, b"{}", length=1 << 62),), BROKEN, instead=NO_SOCKET),
    "half a frame": Bad((answer(200, b'{"type":"stdout","te'),), MALFORMED, 200,
        good_for=("upload", *READ_AS_BYTES), instead=NOTHING_COMES),
    "an error in a stream": Bad((answer(200, b'{"code":"C::D","message":"gone"}\n\n'),), MALFORMED,
        200, good_for=("upload", *READ_AS_BYTES),
        instead=(*NO_SOCKET, ("command", SandboxApiException))),
}  # fmt: skip


@pytest.fixture(params=["async", "blocking", "async-httpx", "blocking-httpx"])
async def any_client(request: pytest.FixtureRequest) -> AsyncIterator[Colour]:
    """A client of each colour, our own and over httpx."""
    colour, _, through = request.param.partition("-")
    options: dict[str, Any] = {"request_timeout": timedelta(seconds=20), "retry_policy": BRISK}
    if through:
        del options["retry_policy"]  # who brings a transport says himself whether it tries again
        transports = {"async": httpx.AsyncHTTPTransport, "blocking": httpx.HTTPTransport}
        options["transport"] = transports[colour](verify=False)
    client = (Async if colour == "async" else Blocking)(**options)
    yield client
    await client.close()
    if through and colour == "async":
        await options["transport"].aclose()
    elif through:
        options["transport"].close()


async def error_of(kind: str, client: Colour, server: RudeServer) -> SandboxException | None:
    try:
        await KINDS[kind][0](client, Origin(server.url))
    except SandboxException as error:
        return error
    return None


@pytest.mark.parametrize("name", ANSWERS)
async def test_a_bad_answer_is_one_typed_error(any_client: Colour, rude: Rude, name: str) -> None:
    bad = ANSWERS[name]
    complaints = []
    for kind in KINDS:
        error = await error_of(kind, any_client, rude(once(*bad.pieces)))
        if found := wrong(kind, bad, error):
            complaints.append(f"{kind}: {found}: {error!r}")

    assert complaints == []


def wrong(kind: str, bad: Bad, error: SandboxException | None) -> list[str]:
    """Return what an error does not say as it must."""
    if kind in bad.good_for or error is None:
        return [] if (kind in bad.good_for) is (error is None) else ["good and bad"]
    special = dict(bad.instead).get(kind)
    is_said = {
        "type": isinstance(error, special or bad.kind),
        "one line": "\n" not in str(error.message),
        "operation": error.operation == KINDS[kind][1] or special is not None,
    }
    if special is None and issubclass(bad.kind, SandboxApiException):
        assert isinstance(error, SandboxApiException)
        is_said["status"] = error.status_code == bad.status
        is_said["request id"] = error.request_id == ID
        is_said["code"] = bad.code in (None, error.error.code)
    return [what for what, said in is_said.items() if not said]


@pytest.mark.parametrize("kind", KINDS)
async def test_silence_is_given_up_where_an_answer_is_due(
    hasty: Colour, rude: Rude, kind: str
) -> None:
    if kind in ("chunks", "command", "download"):
        return  # a stream may begin late: its call says for how long it is awaited
    error = await error_of(kind, hasty, rude(once(linger=True)))

    assert error is not None
    assert isinstance(error, SandboxTimeoutException) or kind == "socket"
    assert error.operation == KINDS[kind][1]


async def test_a_frame_beyond_all_bounds_is_refused(
    any_client: Colour, rude: Rude, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "MAX_FRAME", 1 << 20)

    def endless(peer: Peer) -> None:
        peer.request()
        peer.say(b"HTTP/1.1 200 OK\r\nX-Request-ID: r-17\r\n\r\n")
        while True:
            peer.say(b"x" * 65_536)

    error = await error_of("command", any_client, rude(endless))

    assert isinstance(error, SandboxConnectionException)
    assert (error.request_id, error.operation) == (ID, "run_command")


async def test_output_that_is_no_utf_8_is_shown_as_far_as_it_can_be(
    any_client: Colour, rude: Rude
) -> None:
    frames = b'{"type":"stdout","text":"a\xffb"}\n\n{"type":"execution_complete"}\n\n'
    server = rude(once(answer(200, frames)))

    execution = await command(any_client, Origin(server.url))

    assert execution.stdout.strip() == "a\ufffdb"  # type: ignore[attr-defined]


async def test_a_proxy_that_refuses_is_one_typed_error(
    colour: Callable[..., Colour], rude: Rude, monkeypatch: pytest.MonkeyPatch
) -> None:
    for said in (error(407), error(502), b"", b"garbage\r\n\r\n"):
        proxy = rude(once(said))
        for name in ("HTTP_PROXY", "HTTPS_PROXY"):
            monkeypatch.setenv(name, proxy.url.replace("//", "//me:password@"))
        for address in ("http://far.example", "https://far.example"):
            for kind in ("unary", "command", "socket"):
                with pytest.raises(SandboxException) as caught:
                    await KINDS[kind][0](colour(retry_policy=BRISK), Origin(address))
                assert caught.value.operation == KINDS[kind][1]
                assert "password" not in str(caught.value)
