"""A sandbox's own servers, reached through the lifecycle server."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

import httpx
import pytest
from server_driving import KEY, Box, Running, body, wait_until

Create = Callable[..., Box]

SERVER = r"""
import base64, hashlib, json, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *_): pass
    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
    def do_GET(self):
        if self.headers.get("Upgrade") == "websocket":
            return self.echo()
        if self.path == "/moved":
            return self.answer(302, Location="/there?a=b")
        if self.path == "/elsewhere":
            return self.answer(302, Location="//other.test/x")
        if self.path == "/bad":
            return self.answer(502, b"mine")
        if self.path == "/slowly":
            self.send_response(200); self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for n in range(3):
                self.wfile.write(b"2\r\n%d\n\r\n" % n); self.wfile.flush()
                if n == 1:
                    self.rfile.read1(1)
            self.wfile.write(b"0\r\n\r\n"); return
        told = {"path": self.path, "headers": {k.lower(): v for k, v in self.headers.items()}}
        self.answer(200, json.dumps(told).encode(), X_Mine="yes")
    do_HEAD = do_DELETE = do_GET
    def do_POST(self):
        size = 0
        if self.headers.get("Transfer-Encoding") == "chunked":
            while n := int(self.rfile.readline(), 16):
                size += len(self.rfile.read(n)); self.rfile.readline()
            self.rfile.readline()
        else:
            size = len(self.rfile.read(int(self.headers["Content-Length"])))
        self.answer(200, str(size).encode())
    def echo(self):
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
        self.send_response(101); self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade"); self.send_header("Sec-WebSocket-Accept", accept)
        self.send_header("Sec-WebSocket-Protocol", self.headers["Sec-WebSocket-Protocol"])
        self.send_header("X-Saw", json.dumps({"path": self.path, **dict(self.headers)}))
        self.end_headers(); self.wfile.flush(); self.close_connection = True
        while data := self.connection.recv(65536):
            self.connection.sendall(data)

ThreadingHTTPServer(("127.0.0.1", 8000), Handler).serve_forever()
"""


@pytest.fixture
def box(create: Create) -> Box:
    box = create(entrypoint=["python3", "-c", SERVER])
    with box.execd() as execd:
        assert wait_until(lambda: execd.get("/proxy/8000/").status_code == 200)
    return box


@pytest.fixture
def base(client: httpx.Client, box: Box) -> str:
    answer = client.get(f"/v1/sandboxes/{box.id}/endpoints/8000?use_server_proxy=true")
    assert answer.status_code == 200
    assert answer.json()["endpoint"].endswith(f"/v1/sandboxes/{box.id}/proxy/8000")
    return f"http://{answer.json()['endpoint']}"


def test_a_request_arrives_as_it_was_sent(client: httpx.Client, base: str) -> None:
    secrets = {
        "Authorization": "Bearer x", "Cookie": "a=b", "Forwarded": "for=1", "X-Real-IP": "1.2.3.4",
        "X-Forwarded-For": "6.6.6.6", "OpenSandbox-Secure-Access": "s", "X-Kept": "yes",
    }  # fmt: skip
    answer = client.get(f"{base}/a%2Fb/../c?q=%20%41&q", headers=secrets)
    assert answer.status_code == 200
    assert answer.headers["x-mine"] == "yes"
    told = answer.json()
    assert (
        told["path"]
        == str(httpx.URL(f"{base}/a%2Fb/../c?q=%20%41&q").raw_path, "ascii").split("/proxy/8000")[1]
    )
    seen = told["headers"]
    assert seen["x-kept"] == "yes"
    assert seen["x-forwarded-for"] == "127.0.0.1"
    assert seen["x-forwarded-host"] == base.split("/")[2]
    hidden = {"authorization", "cookie", "forwarded", "x-real-ip", KEY.lower()}
    assert not hidden & set(seen)
    assert not [name for name in seen if "access" in name or "token" in name]
    assert client.head(f"{base}/x").status_code == 200
    assert client.delete(f"{base}/x").status_code == 200


def test_bodies_are_streamed_both_ways(client: httpx.Client, base: str) -> None:
    size = 5 << 20
    assert client.post(f"{base}/up", content=b"x" * size).text == str(size)
    assert client.post(f"{base}/up", content=iter([b"x" * 65536] * 64)).text == str(64 * 65536)
    with client.stream("GET", f"{base}/slowly") as answer:
        pieces = answer.iter_text()
        got = ""
        while "1\n" not in got:  # the third piece is never sent before the end of the request
            got += next(pieces)
        assert "2\n" not in got


def test_use_puts_the_end_off_for_those_who_asked(client: httpx.Client, create: Create) -> None:
    renewed = create(timeout=60, extensions={"access.renew.extend.seconds": "300"})
    plain = create(timeout=60)
    ends = {}
    for box in (renewed, plain):
        assert client.get(f"/v1/sandboxes/{box.id}/proxy/44772/ping").status_code == 200
        first = box.now()["expiresAt"]
        client.get(f"/v1/sandboxes/{box.id}/proxy/44772/ping")
        assert box.now()["expiresAt"] == first  # not again so soon
        ends[box.id] = datetime.fromisoformat(first.replace("Z", "+00:00"))
    assert ends[renewed.id] - ends[plain.id] > timedelta(seconds=200)


@pytest.mark.parametrize("seconds", ["299", "86401", "1h", "-300", "\u0663\u0663\u0663", ""])
def test_a_renewal_that_cannot_be_is_refused(client: httpx.Client, seconds: str) -> None:
    wanted = body(extensions={"access.renew.extend.seconds": seconds})
    answer = client.post("/v1/sandboxes", json=wanted)
    assert answer.status_code == 400
    assert "from 300 to 86400" in answer.json()["message"]


def test_redirects_stay_inside(client: httpx.Client, base: str) -> None:
    rooted = client.get(f"{base}/moved").headers["location"]
    assert rooted == base[base.index("/v1") :] + "/there?a=b"
    assert client.get(f"{base}/elsewhere").headers["location"] == "//other.test/x"
    bare = base.replace("/v1/", "/")
    assert client.get(f"{bare}/moved").headers["location"].startswith("/sandboxes/")


def test_what_nobody_answers(client: httpx.Client, box: Box, base: str) -> None:
    nobody = client.get(base.replace("/8000", "/8001"))
    assert (nobody.status_code, nobody.json()["code"]) == (502, "BACKEND_CONNECTION_FAILED")
    assert client.get(f"{base}/bad").text == "mine"
    wrong = client.get(base.replace("/8000", "/99999"))
    assert (wrong.status_code, wrong.json()["code"]) == (400, "DOCKER::INVALID_PORT")
    expiring = f"/v1/sandboxes/{box.id}/endpoints/8000?use_server_proxy=true&expires=99"
    assert client.get(expiring).json()["code"] == "SANDBOX::INVALID_PARAMETER"
    client.post(f"/v1/sandboxes/{box.id}/pause")
    assert client.get(base).status_code == 409
    client.delete(f"/v1/sandboxes/{box.id}")
    assert client.get(base).status_code == 404


def signed(client: httpx.Client, box: Box, port: int, expires: float) -> httpx.Response:
    where = f"/v1/sandboxes/{box.id}/endpoints/{port}"
    return client.get(where, params={"expires": str(int(expires))})


def test_a_signed_way_needs_no_key_until_its_end(
    server: Running, client: httpx.Client, box: Box
) -> None:
    answer = signed(client, box, 8000, time.time() + 3)
    assert answer.status_code == 200, answer.text
    assert answer.json().keys() == {"endpoint"}
    url = f"http://{answer.json()['endpoint']}"
    told = httpx.get(f"{url}/a?b=c")
    assert (told.status_code, told.json()["path"]) == (200, "/a?b=c")
    assert KEY.lower() not in told.json()["headers"]
    prefix, sandbox_id, port, end, signature = url.rsplit("/", 4)
    for forged in (
        f"{prefix}/{sandbox_id}/8001/{end}/{signature}",
        f"{prefix}/{sandbox_id}/{port}/zzzzzzz/{signature}",
        f"{prefix}/{sandbox_id}/{port}/{end}/{'0' * 32}",
        f"{prefix}/other/{port}/{end}/{signature}",
        f"{server.url}/v1/sandboxes/{box.id}/proxy/8000/",
        f"{server.url}/v1/sandboxes",
    ):
        assert httpx.get(forged).status_code == 401, forged
    assert httpx.get(url, headers={"Origin": "http://evil.test"}).status_code == 403
    assert wait_until(lambda: httpx.get(url).status_code == 401)


def test_what_is_not_signed(client: httpx.Client, box: Box) -> None:
    for answer in (
        signed(client, box, 8000, 99),
        signed(client, box, 18080, time.time() + 60),
        client.get(f"/v1/sandboxes/{box.id}/endpoints/8000?expires=soon"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (400, "SANDBOX::INVALID_PARAMETER")


def test_execd_itself_through_the_proxy(client: httpx.Client, box: Box) -> None:
    path = f"/v1/sandboxes/{box.id}/proxy/44772"
    answer = client.post(f"{path}/command", json={"command": "echo through"})
    assert '"through\\n"' in answer.text
    assert client.get(f"{path}/ping").status_code == 200


def opened(running: Running, path: str, *more: str) -> tuple[socket.socket, bytes]:
    """Open a WebSocket and return the connection and the head of the answer."""
    host, _, port = running.url.removeprefix("http://").rpartition(":")
    connection = socket.create_connection((host, int(port)), timeout=20)
    lines = [
        f"GET {path} HTTP/1.1", f"Host: {host}:{port}", "Connection: Upgrade",
        "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Protocol: chat",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", *more,
    ]  # fmt: skip
    connection.sendall("\r\n".join([*lines, "", ""]).encode())
    got = b""
    while b"\r\n\r\n" not in got and (data := connection.recv(65536)):
        got += data
    return connection, got


@pytest.fixture
def socket_path(base: str) -> Iterator[str]:
    yield base[base.index("/v1") :] + "/chat?x=1"


def test_a_websocket_goes_through(server: Running, socket_path: str) -> None:
    key = f"{KEY}: {server.key}"
    connection, head = opened(server, socket_path, key, "Cookie: a=b")
    with connection:
        assert head.startswith(b"HTTP/1.1 101")
        assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head
        assert b"sec-websocket-protocol: chat" in head.lower()
        saw = json.loads(head.decode().split("X-Saw: ")[1].split("\r\n")[0])
        assert saw["path"] == "/chat?x=1"
        assert not {"cookie", KEY.lower(), "x-execd-access-token"} & {name.lower() for name in saw}
        sent = b"\x82\x85frame" * 100_000
        connection.sendall(sent[:10])
        got = connection.recv(65536)
        assert sent.startswith(got)
        connection.sendall(sent[10 : 1 << 16])
        while len(got) < 1 << 16:
            got += connection.recv(65536)
        assert got == sent[: 1 << 16]


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ([], 401, "MISSING_API_KEY"),
        ([f"{KEY}: wrong"], 401, "INVALID_API_KEY"),
        ([f"{KEY}: RIGHT", "Origin: http://evil.test"], 403, "SANDBOX::INVALID_PARAMETER"),
        ([f"{KEY}: RIGHT", "Host: evil.test"], 400, ""),
    ],
)
def test_no_websocket_without_the_key(
    server: Running, socket_path: str, headers: list[str], status: int, code: str
) -> None:
    given = [header.replace("RIGHT", server.key) for header in headers]
    connection, head = opened(server, socket_path, *given)
    with connection:
        assert head.startswith(b"HTTP/1.1 %d" % status), head
        assert code.encode() in head


def test_websockets_that_lead_nowhere(server: Running, box: Box) -> None:
    key = f"{KEY}: {server.key}"
    for path, status in (
        ("/v1/sandboxes", 404),
        ("/v1/sandboxes/none/proxy/80/", 404),
        (f"/v1/sandboxes/{box.id}/proxy/0/", 400),
        (f"/v1/sandboxes/{box.id}/proxy/8001/", 502),
    ):
        connection, head = opened(server, path, key)
        with connection:
            assert head.startswith(b"HTTP/1.1 %d" % status), (path, head)
