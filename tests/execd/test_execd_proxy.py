"""The way to a port of the sandbox, against a real server in it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import httpx
import pytest
from execd_driving import TOKEN, Daemon, eventually
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import InvalidStatus

from opensandbox_jupyter.constants import EXECD_TOKEN_HEADER


class Site:
    """A server on a port, which tells what it was sent."""

    def __init__(self) -> None:
        self.port = 0
        self.answer = b""
        self.closed = 0
        self.endless = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            body = await _body(reader, head.lower())
            told = json.dumps({"head": head, "body": body.decode("latin-1")}).encode()
            default = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(told), told)
            writer.write(self.answer or default)
            while self.endless:
                writer.write(b"x" * 65536)
                await writer.drain()
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self.closed += 1
            writer.close()


async def _body(reader: asyncio.StreamReader, head: str) -> bytes:
    if "transfer-encoding: chunked" in head:
        return await reader.readuntil(b"0\r\n\r\n")
    for line in head.split("\r\n"):
        if line.startswith("content-length:"):
            return await reader.readexactly(int(line.split(":")[1]))
    return b""


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = Site()
    server = await asyncio.start_server(site.serve, "127.0.0.1", 0, limit=10**8)
    site.port = server.sockets[0].getsockname()[1]
    yield site
    server.close()


async def test_a_request_arrives_as_it_was_sent(client: httpx.AsyncClient, site: Site) -> None:
    url = f"/proxy/{site.port}/a%2Fb//c%20d?x=1&y=%C3%BC"
    headers = {"X-Own": "1", "Te": "trailers", "Connection": "keep-alive, X-Hop", "X-Hop": "1"}
    answer = await client.get(httpx.URL("http://execd" + url), headers=headers)
    head = answer.json()["head"]
    assert head.startswith("GET /a%2Fb//c%20d")
    assert "?x=1&y=%C3%BC HTTP/1.1\r\n" in head
    assert "x-own: 1\r\n" in head.lower()
    assert TOKEN not in head
    assert EXECD_TOKEN_HEADER.lower() not in head.lower()
    assert "x-hop" not in head.lower()
    assert "\r\nte:" not in head.lower()


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"])
async def test_every_method(client: httpx.AsyncClient, site: Site, method: str) -> None:
    answer = await client.request(method, f"/proxy/{site.port}")
    assert answer.json()["head"].startswith(f"{method} / HTTP/1.1\r\n")


async def test_bodies(client: httpx.AsyncClient, site: Site) -> None:
    content = b"x" * 3_000_000
    answer = await client.post(f"/proxy/{site.port}/", content=content)
    assert answer.json()["body"] == content.decode()

    async def pieces() -> AsyncIterator[bytes]:
        yield b"one"
        yield b"two"

    answer = await client.post(f"/proxy/{site.port}/", content=pieces())
    assert answer.json()["body"].replace("\r\n", "|") in ("3|one|3|two|0||", "6|onetwo|0||")


@pytest.mark.parametrize(
    ("sent", "status", "body"),
    [
        (b"HTTP/1.1 404 Nope\r\nContent-Length: 2\r\nX-A: 1\r\n\r\nno", 404, b"no"),
        (b"HTTP/1.1 200 OK\r\n\r\nto the end", 200, b"to the end"),
        (b"HTTP/1.0 200 OK\r\n\r\nold", 200, b"old"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", 200, b"x"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            200,
            b"abc",
        ),
        (b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n", 302, b""),
    ],
)
async def test_answers(
    client: httpx.AsyncClient, site: Site, sent: bytes, status: int, body: bytes
) -> None:
    site.answer = sent
    answer = await client.get(f"/proxy/{site.port}/")
    assert (answer.status_code, answer.content) == (status, body)
    assert answer.headers.get("x-a") == ("1" if b"X-A" in sent else None)


async def test_cookies_stay_apart(client: httpx.AsyncClient, site: Site) -> None:
    site.answer = (
        b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 0\r\n\r\n"
    )
    answer = await client.get(f"/proxy/{site.port}/")
    assert answer.headers.get_list("set-cookie") == ["a=1", "b=2"]


async def test_head(client: httpx.AsyncClient, site: Site) -> None:
    site.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n"
    answer = await client.head(f"/proxy/{site.port}/")
    assert (answer.status_code, answer.headers["content-length"]) == (200, "999")


@pytest.mark.parametrize("sent", [b"nonsense\r\n\r\n", b"\r\n", b"SSH-2.0-x\r\n"])
async def test_what_is_not_http(client: httpx.AsyncClient, site: Site, sent: bytes) -> None:
    site.answer = sent
    answer = await client.get(f"/proxy/{site.port}/")
    assert (answer.status_code, answer.json()["code"]) == (502, "BAD_GATEWAY")


async def test_nobody_listens(client: httpx.AsyncClient) -> None:
    answer = await client.get("/proxy/1/")
    assert (answer.status_code, answer.json()["code"]) == (502, "BAD_GATEWAY")
    assert "port 1" in answer.json()["message"]


async def test_an_answer_that_is_cut_off_is_seen_to_be(
    client: httpx.AsyncClient, site: Site
) -> None:
    site.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nx"
    with pytest.raises(httpx.RemoteProtocolError):
        await client.get(f"/proxy/{site.port}/")
    assert (await client.get("/ping")).status_code == 200


async def test_a_client_that_leaves_ends_the_request(client: httpx.AsyncClient, site: Site) -> None:
    site.answer = b"HTTP/1.1 200 OK\r\n\r\n"
    site.endless = True
    async with client.stream("GET", f"/proxy/{site.port}/") as answer:
        await anext(answer.aiter_bytes())
    await eventually(lambda: site.closed == 1)


async def test_a_page_may_ask_its_own_port_with_the_token(
    daemon: Daemon, client: httpx.AsyncClient, site: Site
) -> None:
    headers = {"Origin": "http://the-page"}
    answer = await client.get(f"/proxy/{site.port}/", headers=headers)
    assert "origin: http://the-page" in answer.json()["head"].lower()
    async with daemon.client(**headers) as stranger:
        assert (await stranger.get(f"/proxy/{site.port}/")).status_code == 401
    for url in ("/ping", "/Proxy/1/", "//proxy/1/", "/%70roxy/1/"):
        assert (await client.get(url, headers=headers)).status_code == 403


@pytest.fixture
async def echo() -> AsyncIterator[tuple[int, list[ServerConnection]]]:
    seen: list[ServerConnection] = []

    async def handle(socket: ServerConnection) -> None:
        seen.append(socket)
        async for message in socket:
            await socket.send(message)

    async with serve(handle, "127.0.0.1", 0, max_size=None) as server:
        yield server.sockets[0].getsockname()[1], seen


async def test_websockets(daemon: Daemon, echo: tuple[int, list[ServerConnection]]) -> None:
    port, seen = echo
    url = f"/proxy/{port}/a%2Fb?x=1"
    async with daemon.connect(url, Origin="http://the-page", Cookie="a=1") as socket:
        for message in ("text ü", b"bytes", "x" * 8_000_000):
            await socket.send(message)
            assert await socket.recv() == message
        request = seen[0].request
        assert request is not None
        assert (request.path, request.headers["Cookie"]) == ("/a%2Fb?x=1", "a=1")
        assert request.headers["Origin"] == "http://the-page"
        assert TOKEN not in str(request.headers)
    await eventually(lambda: seen[0].close_code == 1000)


@pytest.mark.parametrize(
    ("url", "token", "status"),
    [
        ("/proxy/{}/", None, 401),
        ("/proxy/{}/", "x", 401),
        ("/proxy/1/", TOKEN, 502),
        ("/proxy/x/", TOKEN, 400),
        ("/proxy/65536/", TOKEN, 400),
    ],
)
async def test_websockets_that_are_refused(
    daemon: Daemon,
    echo: tuple[int, list[ServerConnection]],
    url: str,
    token: str | None,
    status: int,
) -> None:
    with pytest.raises(InvalidStatus) as caught:
        await daemon.connect(url.format(echo[0]), token)
    assert caught.value.response.status_code == status
    assert json.loads(caught.value.response.body or b"")["code"]
    assert echo[1] == []


async def test_a_server_that_goes_takes_the_tunnel_with_it(
    daemon: Daemon, echo: tuple[int, list[ServerConnection]]
) -> None:
    before = daemon.descriptors()
    async with daemon.connect(f"/proxy/{echo[0]}/") as socket:
        await socket.send("x")
        await socket.recv()
        echo[1][0].transport.abort()
        await socket.wait_closed()
    await eventually(lambda: daemon.descriptors() <= before)
