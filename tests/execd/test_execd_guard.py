"""Who may ask, and what becomes of requests that are not requests."""

from __future__ import annotations

import json
import socket

import httpx
import pytest
from execd_driving import TOKEN, Daemon

from opensandbox_jupyter.constants import EXECD_TOKEN_HEADER

ROUTES = [
    ("GET", "/ping"),
    ("POST", "/command"),
    ("DELETE", "/command?id=x"),
    ("GET", "/command/status/x"),
    ("GET", "/command/x/logs"),
    ("GET", "/files/info?path=/etc/passwd"),
    ("DELETE", "/files?path=/workspace"),
    ("POST", "/files/permissions"),
    ("POST", "/files/mv"),
    ("GET", "/files/search?path=/etc"),
    ("POST", "/files/replace"),
    ("POST", "/files/upload"),
    ("GET", "/files/download?path=/etc/passwd"),
    ("GET", "/directories/list?path=/etc"),
    ("POST", "/directories"),
    ("DELETE", "/directories?path=/workspace"),
    ("GET", "/metrics"),
    ("GET", "/metrics/watch"),
    ("GET", "/proxy/80/"),
    ("GET", "/"),
    ("GET", "/no/such/route"),
    ("GET", "//ping"),
    ("GET", "/ping/"),
    ("GET", "/PING"),
    ("GET", "/x/%2e%2e/ping"),
    ("OPTIONS", "/ping"),
    ("HEAD", "/ping"),
    ("BREW", "/ping"),
]


@pytest.mark.parametrize(("method", "url"), ROUTES)
@pytest.mark.parametrize("token", [None, "", "wrong", TOKEN + " x", TOKEN[:-1], "tökén"])
async def test_every_route_wants_the_token(
    daemon: Daemon, method: str, url: str, token: str | None
) -> None:
    headers = [] if token is None else [(EXECD_TOKEN_HEADER.encode(), token.encode())]
    async with daemon.client(**{"X-Nothing": "1"}) as client:
        answer = await client.request(method, url, headers=headers)
    assert answer.status_code == 401
    if method != "HEAD":
        assert answer.json()["code"] == "UNAUTHORIZED"
        assert answer.json()["message"] == answer.json()["error"]
        assert TOKEN not in answer.text


async def test_two_tokens_are_none(client: httpx.AsyncClient) -> None:
    headers = [(EXECD_TOKEN_HEADER, "wrong"), (EXECD_TOKEN_HEADER, TOKEN)]
    assert (await client.get("/ping", headers=headers)).status_code == 401


@pytest.mark.parametrize("origin", ["null", "http://localhost", "http://execd", ""])
async def test_web_pages_are_refused(client: httpx.AsyncClient, origin: str) -> None:
    answer = await client.post("/command", json={"command": "touch x"}, headers={"Origin": origin})
    assert (answer.status_code, answer.json()["code"]) == (403, "FORBIDDEN")


async def test_ping(client: httpx.AsyncClient) -> None:
    answer = await client.get("/ping")
    assert (answer.status_code, answer.content) == (200, b"")


@pytest.mark.parametrize(
    ("method", "url", "status"),
    [
        ("GET", "/no/such/route", 404),
        ("GET", "/ping/", 404),
        ("GET", "//ping", 404),
        ("PUT", "/command", 405),
        ("BREW", "/files/info", 405),
        ("GET", "/proxy/", 400),
        ("GET", "/proxy/web/", 400),
        ("GET", "/proxy/65536/", 400),
    ],
)
async def test_errors_have_a_code_and_a_message(
    client: httpx.AsyncClient, method: str, url: str, status: int
) -> None:
    answer = await client.request(method, url)
    assert answer.status_code == status
    assert answer.json()["code"]
    assert answer.json()["message"]


async def test_too_many_headers(client: httpx.AsyncClient) -> None:
    for headers in ({f"x-{n}": "1" for n in range(200)}, {"x": "1" * 70_000}):
        answer = await client.get("/ping", headers=headers)
        assert answer.status_code in (400, 431)
        assert answer.json()["code"] == "INVALID_REQUEST_BODY"


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"nonsense\r\n\r\n",
        b"GET /ping HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
        b"POST /command HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
        b"POST /command HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET /ping HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 100_000,
    ],
)
async def test_what_is_not_http_is_refused_and_hung_up_on(
    daemon: Daemon, request_bytes: bytes
) -> None:
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(10)
        peer.connect(daemon.socket)
        peer.sendall(request_bytes)
        answer = b""
        while piece := peer.recv(65536):
            answer += piece
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 431 "))
    assert json.loads(body)["code"] == "INVALID_REQUEST_BODY"


async def test_length_and_chunks_together_are_not_two_requests(daemon: Daemon) -> None:
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(1)
        peer.connect(daemon.socket)
        peer.sendall(
            b"POST /command HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nX"
        )
        answer = peer.recv(65536)
    assert answer.count(b"HTTP/1.1 ") == 1
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 401 "))


async def test_connections_are_kept(daemon: Daemon) -> None:
    request = f"GET /ping HTTP/1.1\r\nHost: a\r\n{EXECD_TOKEN_HEADER}: {TOKEN}\r\n\r\n".encode()
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(10)
        peer.connect(daemon.socket)
        for _ in range(3):
            peer.sendall(request)
            assert peer.recv(65536).startswith(b"HTTP/1.1 200 ")
