"""Who may ask, how much, how long, and in which form refusals come."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
import time
import uuid
from collections.abc import Iterator
from itertools import product

import httpx
import pytest
from server_driving import KEY, Running, body, start


@pytest.fixture(scope="module")
def door(make_home) -> Iterator[Running]:
    running = start(make_home(os.geteuid()))
    yield running
    running.stop()


@pytest.fixture
def visitor(door: Running) -> Iterator[httpx.Client]:
    with door.client() as client:
        yield client


ROUTES = [
    "/sandboxes", "/sandboxes/x", "/sandboxes/x/metadata", "/sandboxes/x/pause", "/snapshots",
    "/sandboxes/x/resume", "/sandboxes/x/renew-expiration", "/sandboxes/x/endpoints/80",
    "/sandboxes/x/proxy/80/", "/metrics/events", "/nothing", "/sandboxes/", "//sandboxes",
    "/health", "/sandboxes/x/snapshots", "/snapshots/x", "/sandboxes/x/diagnostics/logs",
    "/sandboxes/x/proxy/80", "/%2e%2e/health", "/sandboxes%2fx", "/sandboxes;x", "/SANDBOXES",
]  # fmt: skip


@pytest.mark.parametrize("prefix", ["/v1", ""])
@pytest.mark.parametrize("path", ROUTES)
def test_no_route_opens_without_the_key(visitor: httpx.Client, prefix: str, path: str) -> None:
    if (prefix, path) == ("", "/health"):
        return
    keys = [({}, "MISSING_API_KEY")]
    keys += [({KEY: key}, "INVALID_API_KEY") for key in ("", "wrong", "ключ".encode())]
    del visitor.headers[KEY]
    for method, (headers, code) in product(
        ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"), keys
    ):
        answer = visitor.request(method, prefix + path, headers=headers, json=body())
        assert answer.status_code == 401, (method, answer.text)
        assert answer.json()["code"] == code


def test_health_and_version_are_open(visitor: httpx.Client) -> None:
    del visitor.headers[KEY]
    assert visitor.get("/health").json() == {"status": "healthy"}
    assert list(visitor.get("/version").json()) == ["version"]
    assert visitor.get("/v1/health").status_code == 401


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1.evil.test:{port}",
        "evil.test",
        "127.0.0.1",
        "localhost:1",
        "127.0.0.1:{port}x",
        "",
    ],
)
def test_another_name_is_misdirected(door: Running, visitor: httpx.Client, host: str) -> None:
    port = door.url.rpartition(":")[2]
    answer = visitor.get("/v1/sandboxes", headers={"Host": host.format(port=port)})
    assert answer.status_code == 421
    assert set(answer.json()) == {"code", "message"}


def test_its_own_names_are_answered(door: Running, visitor: httpx.Client) -> None:
    port = door.url.rpartition(":")[2]
    for host in ("127.0.0.1", "localhost", "LOCALHOST", "[::1]"):
        assert visitor.get("/v1/sandboxes", headers={"Host": f"{host}:{port}"}).status_code == 200


def test_web_pages_are_refused(visitor: httpx.Client) -> None:
    for headers in (
        {"Origin": "http://evil.test"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
    ):
        answer = visitor.get("/health", headers=headers)
        assert answer.status_code == 403
        assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]
)
def test_forms_are_not_understood(visitor: httpx.Client, kind: str) -> None:
    answer = visitor.post(
        "/v1/sandboxes", content=json.dumps(body()), headers={"Content-Type": kind}
    )
    assert answer.status_code == 415


def test_request_ids(visitor: httpx.Client) -> None:
    name = "X-Request-ID"
    assert visitor.get("/v1/sandboxes", headers={name: "mine 1"}).headers[name] == "mine 1"
    for path in ("/v1/sandboxes", "/nothing", "/v1/sandboxes/none"):
        made = visitor.get(path, headers={name: ""}).headers[name]
        assert str(uuid.UUID(made)) == made
    del visitor.headers[KEY]
    assert uuid.UUID(visitor.get("/v1/sandboxes").headers[name])


def test_a_wrong_method_is_told_the_right_ones(visitor: httpx.Client) -> None:
    for path, methods in (
        ("/v1/sandboxes", {"GET", "HEAD", "POST"}),
        ("/v1/sandboxes/x", {"DELETE", "GET", "HEAD"}),
    ):
        answer = visitor.options(path)
        assert answer.status_code == 405
        assert set(answer.headers["Allow"].split(", ")) == methods


def test_errors_have_one_form(visitor: httpx.Client) -> None:
    json_type = {"Content-Type": "application/json"}
    for answer, status in (
        (visitor.get("/v1/nothing"), 404),
        (visitor.put("/v1/sandboxes", json={}), 405),
        (visitor.post("/v1/sandboxes", content=b"{", headers=json_type), 400),
        (visitor.post("/v1/sandboxes", content=b"\xff", headers=json_type), 400),
        (visitor.post("/v1/sandboxes", content=b"[" * 100_000, headers=json_type), 400),
        (visitor.post("/v1/sandboxes", content=b"x" * (1 << 21), headers=json_type), 413),
        (visitor.post("/v1/sandboxes", content=iter([b"x" * 65536] * 32), headers=json_type), 413),
    ):
        assert answer.status_code == status
        assert set(answer.json()) == {"code", "message"}
    assert visitor.get("/v1/sandboxes").json()["items"] == []


def exchange(running: Running, sent: bytes, seconds: float = 15) -> bytes:
    host, _, port = running.url.removeprefix("http://").rpartition(":")
    with socket.create_connection((host, int(port)), timeout=seconds) as connection:
        connection.sendall(sent)
        got = b""
        try:
            while data := connection.recv(65536):
                got += data
        except (ConnectionResetError, TimeoutError):
            pass
        return got


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /health HTTP/1.1\r\nX: " + b"a" * 200_000, 431),
        (b"GET /health HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 120 + b"\r\n", 431),
        (b"GET /health HTTP/1.1\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET http://127.0.0.1/health HTTP/1.1\r\nHost: a\r\n\r\n", 421),
        (b"GET /health HTTP/1.0\r\n\r\n", 421),
        (b"nonsense\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n", 400),
    ],
    ids=lambda value: str(value)[:40],
)
def test_heads_that_are_wrong(door: Running, sent: bytes, status: int) -> None:
    closing = sent.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    head, _, rest = exchange(door, closing).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d" % status), head
    assert set(json.loads(rest)) == {"code", "message"}


def test_silent_connections_are_cut_and_block_nobody(door: Running, visitor: httpx.Client) -> None:
    host, _, port = door.url.removeprefix("http://").rpartition(":")
    silent = [socket.create_connection((host, int(port)), timeout=30) for _ in range(200)]
    silent[0].sendall(b"GET /health HTT")
    assert visitor.get("/v1/sandboxes").status_code == 200
    begin = time.monotonic()
    for connection in silent:
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(1) == b""
        connection.close()
    assert time.monotonic() - begin < 25


def test_the_key_is_kept(door: Running) -> None:
    path = door.home / "opensandbox/run/server.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert door.key not in (door.home / "stderr").read_text()
