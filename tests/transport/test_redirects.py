"""Redirects: followed only when asked for, bounded, and without our secrets."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from both_colours import Colour
from rude import OK, RudeServer, always

from opensandbox_jupyter.exceptions import SandboxApiException, SandboxException
from opensandbox_jupyter.wire.base import Call, Origin, Part
from opensandbox_jupyter.wire.errors import expect

Rude = Callable[..., RudeServer]
Make = Callable[..., Colour]
KEY = {"OPEN-SANDBOX-API-KEY": "k3y", "X-EXECD-ACCESS-TOKEN": "t0ken"}


def to(place: str, status: int = 302) -> bytes:
    return f"HTTP/1.1 {status} Go\r\nLocation: {place}\r\nContent-Length: 0\r\n\r\n".encode()


def call(server: RudeServer, method: str = "GET", **more: Any) -> Call:
    headers = {"OPENSANDBOX-OUTPUT": "chunks", "Range": "bytes=0-"}
    return Call("get_it", Origin(server.url, KEY), method, "/it", headers=headers, **more)


async def test_a_redirect_is_an_error_that_says_what_to_do(patient: Make, rude: Rude) -> None:
    server = rude(always(to("/elsewhere")))
    asked = call(server)

    reply = await patient().fetch(asked)

    with pytest.raises(SandboxApiException, match="follow_redirects") as caught:
        expect(asked, reply)
    assert caught.value.status_code == 302
    assert len(server.requests) == 1


async def test_it_is_followed_when_asked_for_and_not_for_ever(patient: Make, rude: Rude) -> None:
    server = rude(always(to("/other?a=b%20c&d=")))

    with pytest.raises(SandboxApiException):
        await patient(follow_redirects=True).stream(call(server))

    assert len(server.requests) == 21
    assert server.requests[1].replace(b"+", b"%20").startswith(b"GET /other?a=b%20c&d= HTTP/1.1")
    assert b"k3y" in server.requests[1]


@pytest.mark.parametrize("streamed", [False, True])
async def test_no_secret_goes_to_another_origin(patient: Make, rude: Rude, streamed: bool) -> None:
    foreign = rude(always(OK))
    server = rude(always(to(f"{foreign.url}/there")))
    client = patient(
        follow_redirects=True, headers={"X-Mine": "m1ne", "Authorization": "Bearer a1"}
    )

    asked = call(server)
    body = await client.stream(asked) if streamed else (await client.fetch(asked)).body

    assert body == b"ok"
    (seen,) = (request.lower() for request in foreign.requests)
    for secret in (b"k3y", b"t0ken", b"m1ne", b"bearer", b"opensandbox-", b"open-sandbox-"):
        assert secret not in seen.replace(b"user-agent: opensandbox-jupyter", b"")
    assert b"range: bytes=0-" in seen
    assert b"m1ne" in server.requests[0].lower()


async def test_back_home_it_is_still_a_stranger(patient: Make, rude: Rude) -> None:
    home = rude(always(OK))
    foreign = rude(always(to(f"{home.url}/home")))
    server = rude(always(to(foreign.url)))

    assert (await patient(follow_redirects=True).fetch(call(server))).body == b"ok"

    assert b"k3y" not in home.requests[0]


@pytest.mark.parametrize(
    ("method", "status", "then"),
    [
        ("POST", 301, b"GET"), ("POST", 302, b"GET"), ("POST", 303, b"GET"),
        ("POST", 307, b"POST"), ("POST", 308, b"POST"),
        ("PUT", 302, b"PUT"), ("PUT", 303, b"GET"), ("HEAD", 303, b"HEAD"),
        ("DELETE", 301, b"DELETE"),
    ],
)  # fmt: skip
async def test_methods_change_as_in_browsers(
    patient: Make, rude: Rude, method: str, status: int, then: bytes
) -> None:
    there = rude(always(OK if method != "HEAD" else b"HTTP/1.1 204 No\r\n\r\n"))
    server = rude(always(to(there.url, status)))

    await patient(follow_redirects=True).fetch(call(server, method, json=b'{"a":1}'))

    assert there.requests[0].startswith(then + b" ")
    assert there.requests[0].endswith(b'{"a":1}') is (then == method.encode() or then == b"HEAD")


@pytest.mark.parametrize("place", ["", "ftp://h/", "http://[::1", "javascript:alert(1)"])
async def test_a_place_that_is_none_is_not_gone_to(patient: Make, rude: Rude, place: str) -> None:
    server = rude(always(to(place)))
    asked = call(server)

    with pytest.raises(SandboxException):  # httpx reads it by itself, and has words of its own
        expect(asked, await patient(follow_redirects=True, max_retries=0).fetch(asked))

    assert len(server.requests) == 1


async def test_a_body_that_can_be_read_once_does_not_go_on(patient: Make, rude: Rude) -> None:
    server = rude(always(to("/there", 307)))
    file = [Part("file", "a", io.BytesIO(b"data"), "text/plain")]

    reply = await patient(follow_redirects=True).fetch(call(server, "POST", parts=file))

    assert (reply.status, len(server.requests)) == (307, 1)
