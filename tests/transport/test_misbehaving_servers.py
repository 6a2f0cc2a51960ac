"""Both colours against a real socket that does what no server should."""

from __future__ import annotations

import asyncio
import gc
import io
import os
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from both_colours import Async, Blocking, Colour
from rude import CHUNKED, OK, Peer, RudeServer, always, once

from opensandbox_jupyter.exceptions import (
    InvalidArgumentException,
    SandboxApiException,
    SandboxConnectionException,
    SandboxException,
    SandboxTimeoutException,
)
from opensandbox_jupyter.transport import RetryPolicy
from opensandbox_jupyter.wire.base import Call, Origin, Part

Rude = Callable[..., RudeServer]


def get(server: RudeServer | str, **more: Any) -> Call:
    url = server if isinstance(server, str) else server.url
    return Call("get_it", Origin(url), more.pop("method", "GET"), "/it", **more)


def post(server: RudeServer, body: bytes = b"{}") -> Call:
    return get(server, method="POST", json=body)


def upload(server: RudeServer, *contents: Any) -> Call:
    parts = [Part("file", 'a"\n.txt', each, "text/plain") for each in contents]
    return get(server, method="POST", parts=parts)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab",
        CHUNKED + b"5\r\nab",
        CHUNKED + b"2\r\nab\r\n",
        CHUNKED + b"zz\r\nab\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000 + b"\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000,
    ],
    ids=lambda answer: repr(answer[:48]),
)
async def test_an_answer_that_is_cut_or_is_no_http_is_a_broken_connection(
    client: Colour, rude: Rude, answer: bytes
) -> None:
    server = rude(once(answer))

    with pytest.raises(SandboxConnectionException, match=r"get it: the connection to .* broke"):
        await client.fetch(post(server))
    with pytest.raises(SandboxConnectionException, match="broke"):
        await client.stream(post(server))


@pytest.mark.parametrize(
    "pieces",
    [
        [bytes([byte]) for byte in OK],
        [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\n" + OK],
        [CHUNKED, b"1\r\n", b"o", b"\r\n1\r\nk\r\n0", b"\r\nTrailer: t\r\n\r\n"],
        [b"HTTP/1.1 200 OK\r\n\r\n", b"ok"],
        [b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n", b"ok"],
        [OK + b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad"],
        [OK + b"garbage"],
    ],
    ids=["byte by byte", "1xx", "chunks", "to the end", "1.0", "one answer too many", "surplus"],
)
async def test_an_answer_in_strange_pieces_is_read(
    client: Colour, rude: Rude, pieces: list[bytes]
) -> None:
    server = rude(once(*pieces))

    for _ in range(2):
        reply = await client.fetch(get(server))
        assert (reply.status, reply.body, "link" in reply.headers) == (200, b"ok", False)
        assert await client.stream(get(server)) == b"ok"


async def test_a_redirect_is_not_followed(client: Colour, rude: Rude) -> None:
    server = rude(once(b"HTTP/1.1 302 Found\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n"))

    assert (await client.fetch(get(server))).status == 302
    with pytest.raises(SandboxApiException, match="302"):
        await client.stream(get(server))


async def test_a_refused_stream_tells_the_servers_own_words(client: Colour, rude: Rude) -> None:
    body = b'{"code": "X", "message": "no such file"}'
    head = b"HTTP/1.1 404 Not Found\r\nContent-Length: %d\r\n\r\n" % len(body)
    server = rude(always(head + body))

    for _ in range(3):
        with pytest.raises(SandboxApiException, match="no such file"):
            await client.stream(get(server))


async def test_a_connection_is_used_again(client: Colour, rude: Rude) -> None:
    server = rude(always(OK))

    for _ in range(5):
        await client.fetch(get(server))
        await client.stream(post(server))

    assert (server.connections, len(server.requests)) == (1, 10)


async def test_a_stream_left_at_its_last_event_frees_the_connection(
    client: Colour, rude: Rude
) -> None:
    server = rude(always(CHUNKED + b"4\r\nlast\r\n0\r\n\r\n"))

    for _ in range(3):
        assert await client.stream(post(server), until=b"last") == b"last"

    assert server.connections == 1


async def test_a_server_that_lingers_after_the_last_event_is_not_waited_for(
    client: Colour, rude: Rude
) -> None:
    left = threading.Event()

    def lingers(peer: Peer) -> None:
        peer.request()
        peer.say(CHUNKED + b"4\r\nlast\r\n")
        peer.linger()
        left.set()

    server = rude(lingers, always(OK))

    assert await client.stream(post(server), until=b"last") == b"last"
    assert (await client.fetch(post(server))).body == b"ok"
    assert await asyncio.to_thread(left.wait, 20)  # closed by us: the server would never


async def test_a_connection_closed_while_idle_is_not_used(client: Colour, rude: Rude) -> None:
    server = rude(once(OK))

    for _ in range(5):
        assert (await client.fetch(post(server))).body == b"ok"
        await asyncio.sleep(0.02)  # the end of the connection arrives

    assert server.connections == 5


async def test_a_request_on_a_stale_connection_is_repeated_once_if_that_is_safe(
    client: Colour, rude: Rude
) -> None:
    def hangs_up_on_the_second(peer: Peer) -> None:
        peer.request()
        peer.say(OK)
        peer.request()

    server = rude(hangs_up_on_the_second)
    await client.fetch(get(server))
    assert (await client.fetch(get(server))).body == b"ok"
    assert server.connections == 2

    with pytest.raises(SandboxConnectionException, match="broke"):
        await client.fetch(post(server))  # the server may have acted on it
    assert (server.connections, len(server.requests)) == (2, 4)


async def test_a_new_connection_that_breaks_is_not_tried_again(client: Colour, rude: Rude) -> None:
    server = rude(once())

    with pytest.raises(SandboxConnectionException, match="broke"):
        await client.fetch(get(server))

    assert server.connections == 1


async def test_silence_is_bounded_for_a_request_and_not_for_a_stream(
    hasty: Colour, rude: Rude
) -> None:
    go_on = threading.Event()

    def silent(peer: Peer) -> None:
        while peer.request():
            go_on.wait(20)
            peer.say(CHUNKED)
            peer.say(b"2\r\nok\r\n0\r\n\r\n")

    server = rude(silent)
    with pytest.raises(SandboxTimeoutException, match=r"no answer from .* in time"):
        await hasty.fetch(post(server))
    threading.Timer(0.6, go_on.set).start()

    assert await hasty.stream(post(server)) == b"ok"


async def test_a_slow_drip_is_not_silence(hasty: Colour, rude: Rude) -> None:
    pause = threading.Event()

    def drips(peer: Peer) -> None:
        peer.request()
        for byte in OK[-8:].join([OK[:-8], b""]):
            pause.wait(0.02)
            peer.say(bytes([byte]))

    assert (await hasty.fetch(get(rude(drips)))).body == b"ok"


@pytest.mark.parametrize(
    "through", [{}, {"event_hooks": {"response": []}}], ids=["native", "httpx"]
)
async def test_a_drip_without_end_is_given_up(
    colour: Callable[..., Colour], rude: Rude, through: dict[str, Any]
) -> None:
    def drips(peer: Peer) -> None:
        peer.request()
        peer.say(b"HTTP/1.1 200 OK\r\nX-Request-ID: r-17\r\nContent-Length: 100000\r\n\r\n")
        peer.sock.settimeout(0.02)
        while True:
            peer.say(b" ")
            with suppress(TimeoutError):
                if not peer.sock.recv(1):
                    return

    policy = RetryPolicy.disabled()
    hasty = colour(request_timeout=timedelta(seconds=0.1), retry_policy=policy, **through)
    with pytest.raises(SandboxTimeoutException, match=r"no answer from .* in time") as caught:
        await hasty.fetch(get(rude(drips)))

    assert caught.value.request_id == "r-17"


@pytest.mark.parametrize(
    ("url", "kind", "says"),
    [
        ("http://127.0.0.1:9", SandboxConnectionException, "nothing answers at"),
        ("http://no-such-host.invalid", SandboxConnectionException, "nothing answers at"),
        ("ftp://h", InvalidArgumentException, "is not an address"),
        ("http://", InvalidArgumentException, "is not an address"),
        ("http://h:99999", InvalidArgumentException, "is not an address"),
        ("http://h\r\nX: y", InvalidArgumentException, "is not an address"),
        ("http://" + "a" * 70 + ".example", SandboxException, "is not an address|nothing answers"),
    ],
)
async def test_an_address_that_leads_nowhere_is_one_sentence(
    client: Colour, url: str, kind: type[Exception], says: str
) -> None:
    with pytest.raises(kind, match=says):
        await client.fetch(get(url))


async def test_plain_http_at_an_https_address_is_one_sentence(client: Colour, rude: Rude) -> None:
    server = rude(lambda peer: peer.say(OK))

    with pytest.raises(SandboxConnectionException, match="nothing answers at"):
        await client.fetch(get(server.url.replace("http:", "https:")))


async def test_https_verifies_the_certificate(
    colour: Callable[..., Colour], rude: Rude, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    make = (
        "openssl req -x509 -nodes -days 2 -subj /CN=t -newkey ec -pkeyopt "
        "ec_paramgen_curve:prime256v1 -addext subjectAltName=IP:127.0.0.1 -keyout"
    )
    command = [*make.split(), key, "-out", certificate]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)

    def secure(peer: Peer) -> None:
        peer.sock = context.wrap_socket(peer.sock, server_side=True)
        while peer.request():
            peer.say(OK)

    server = rude(secure)
    url = server.url.replace("http:", "https:")
    with pytest.raises(SandboxConnectionException, match="nothing answers at"):
        await colour().fetch(get(url))

    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    trusting = colour()
    for _ in range(3):
        parts = [Part("file", "a", b"x" * 3_000_000, "text/plain")]
        assert (await trusting.fetch(get(url, method="POST", parts=parts))).body == b"ok"
        assert await trusting.stream(get(url)) == b"ok"
    assert server.connections <= 3


@pytest.mark.parametrize(
    "headers", [{"X": "a\r\nY: b"}, {"X": "a\nb"}, {"X\r\nY": "b"}, {"X": "\0"}, {"X": "\u2603"}]
)
async def test_a_header_cannot_bring_another_along(
    client: Colour, rude: Rude, headers: dict[str, str]
) -> None:
    server = rude(always(OK))

    with pytest.raises(InvalidArgumentException, match="header"):
        await client.fetch(get(server, headers=headers))
    with pytest.raises(InvalidArgumentException):
        await client.fetch(Call("get_it", Origin(server.url), "GET", "/a HTTP/1.1\r\nX: y"))
    with pytest.raises(InvalidArgumentException):
        await client.fetch(Call("get_it", Origin(server.url, headers), "GET", "/"))

    assert server.connections == 0


async def test_an_upload_is_one_body_of_known_length(
    client: Colour, rude: Rude, tmp_path: Path
) -> None:
    server = rude(always(OK))
    data = os.urandom(700_000)
    path = tmp_path / "file"
    path.write_bytes(data)

    with path.open("rb") as file:
        await client.fetch(upload(server, data, file, io.BytesIO(b"tail")))

    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert b"Transfer-Encoding" not in head
    assert b"Content-Length: %d" % len(body) in head
    assert body.count(data) == 2
    assert b"\r\n\r\ntail\r\n--" in body
    assert b'filename="a%22%0A.txt"' in body


async def test_an_upload_of_unknown_length_goes_in_chunks(client: Colour, rude: Rude) -> None:
    server = rude(always(OK))
    reading, writing = os.pipe()
    os.write(writing, b"from a pipe")
    os.close(writing)

    with open(reading, "rb") as pipe:
        await client.fetch(upload(server, pipe))

    assert b"Transfer-Encoding: chunked" in server.requests[0]
    assert b"\r\nb\r\nfrom a pipe\r\n" in server.requests[0]


async def test_an_upload_that_is_refused_early_gets_the_answer(client: Colour, rude: Rude) -> None:
    def refuses(peer: Peer) -> None:
        peer.sock.recv(1000)
        peer.say(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        peer.sock.shutdown(socket.SHUT_WR)
        peer.linger()

    server = rude(refuses, always(OK))

    assert (await client.fetch(upload(server, b"x" * 50_000_000))).status == 413
    assert (await client.fetch(get(server))).status == 200


async def test_a_file_that_shrinks_while_it_is_sent_is_an_error(client: Colour, rude: Rude) -> None:
    class Shrinking(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return b""

    server = rude(always(OK))

    with pytest.raises(SandboxConnectionException):
        await client.fetch(upload(server, Shrinking(b"four")))
    assert (await client.fetch(get(server))).body == b"ok"


async def test_a_big_answer_comes_whole_in_order(client: Colour, rude: Rude) -> None:
    data = os.urandom(20_000_000)
    server = rude(always(b"HTTP/1.1 200 OK\r\nContent-Length: 20000000\r\n\r\n" + data))

    assert (await client.fetch(get(server))).body == data
    assert await client.stream(get(server)) == data


async def test_a_cancelled_request_closes_its_connection(rude: Rude) -> None:
    asked, left = threading.Event(), threading.Event()

    def waits(peer: Peer) -> None:
        peer.request()
        asked.set()
        peer.linger()
        left.set()

    server, client = rude(waits, always(OK)), Async()
    task = asyncio.ensure_future(client.fetch(get(server)))
    await asyncio.to_thread(asked.wait, 20)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(left.wait, 20)
    assert (await client.fetch(get(server))).body == b"ok"
    await client.close()


async def test_two_hundred_requests_at_once(rude: Rude) -> None:
    server, client = rude(always(OK)), Async()
    replies = await asyncio.gather(*(client.fetch(post(server)) for _ in range(200)))
    await client.close()

    blocking = Blocking().transport
    with ThreadPoolExecutor(200) as pool:
        bodies = list(pool.map(lambda _: body_of(blocking, post(server)), range(1000)))
    blocking.close()

    assert [r.body for r in replies] == [b"ok"] * 200
    assert bodies == [b"ok"] * 1000


def body_of(transport: Any, call: Call) -> bytes:
    with transport.stream(call) as chunks:
        return b"".join(chunks)


async def test_close_leaves_nothing_open(client: Colour, rude: Rude) -> None:
    server = rude(always(OK))
    await client.fetch(get(server))
    tasks = asyncio.all_tasks()
    before = sockets()
    await client.close()

    assert len(before - sockets()) >= 1
    assert asyncio.all_tasks() <= tasks
    with pytest.raises(SandboxConnectionException):
        await client.fetch(get(server))
    gc.collect()


def sockets() -> set[str]:
    """Return the client's connected sockets of this process, by file descriptor."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            if os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
                found.add(name)
    return found


def test_a_client_moves_to_a_new_loop_only_when_the_old_one_is_over(rude: Rude) -> None:
    server = rude(always(OK))
    client = Async()

    for _ in range(2):
        assert asyncio.run(client.fetch(get(server))).body == b"ok"

    async def from_another_loop() -> None:
        await client.fetch(get(server))
        with pytest.raises(SandboxConnectionException, match="broke"):
            await asyncio.to_thread(asyncio.run, client.fetch(get(server)))
        await client.close()

    asyncio.run(from_another_loop())


async def test_a_proxy_of_the_environment_is_asked(
    colour: Callable[..., Colour], rude: Rude, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = rude(always(OK))
    monkeypatch.setenv("HTTP_PROXY", proxy.url)

    assert (await colour().fetch(get("http://far.example"))).body == b"ok"
    assert proxy.requests[0].startswith(b"GET http://far.example/it HTTP/1.1")


async def test_the_kernel_looks_whether_the_other_side_is_still_there(
    client: Colour, rude: Rude
) -> None:
    server = rude(always(OK))
    port = int(server.url.rpartition(":")[2])

    await client.fetch(get(server))

    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    timers = [row[5] for row in rows if row[2].endswith(f":{port:04X}") and row[3] == "01"]
    assert [timer[:2] for timer in timers] == ["02"]  # keepalive
