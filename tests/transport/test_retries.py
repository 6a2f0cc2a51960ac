"""Requests that are sent again: both colours, our own client and httpx."""

from __future__ import annotations

import asyncio
import io
import socket
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest
from both_colours import Async, Colour
from rude import OK, Peer, RudeServer, always, once

from opensandbox_jupyter.exceptions import (
    SandboxApiException,
    SandboxConnectionException,
    SandboxTimeoutException,
)
from opensandbox_jupyter.transport import (
    JitterMode,
    RetryAsyncTransport,
    RetryCause,
    RetryEvent,
    RetryPolicy,
    RetrySyncTransport,
    unwrap_retry_transport,
)
from opensandbox_jupyter.wire.base import Call, Origin, Part
from opensandbox_jupyter.wire.errors import expect

Rude = Callable[..., RudeServer]
Make = Callable[..., Colour]

BUSY = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"
BUSY_FOR_A_MOMENT = BUSY.replace(b"\r\n\r\n", b"\r\nRetry-After: 0\r\nX-Request-ID: r7\r\n\r\n")


def get(server: RudeServer | str, **more: Any) -> Call:
    url = server if isinstance(server, str) else server.url
    return Call("get_it", Origin(url), more.pop("method", "GET"), "/it", **more)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def hesitant(count: int, answer: bytes = BUSY_FOR_A_MOMENT) -> Callable[[Peer], None]:
    """Return a script that is busy so many times, then answers."""
    left = [count]

    def script(peer: Peer) -> None:
        while peer.request():
            left[0] -= 1
            peer.say(answer if left[0] >= 0 else OK)

    return script


async def test_a_busy_server_is_asked_again(patient: Make, rude: Rude) -> None:
    told: list[RetryEvent] = []
    server = rude(hesitant(2))

    reply = await patient(on_retry=told.append).fetch(get(server))

    assert reply.body == b"ok"
    assert [event.cause for event in told] == [RetryCause.STATUS_503] * 2
    assert [event.attempt for event in told] == [2, 3]
    assert told[0].request_id == "r7"


async def test_a_server_that_stays_busy_gives_its_last_answer(patient: Make, rude: Rude) -> None:
    server = rude(always(BUSY_FOR_A_MOMENT))

    reply = await patient().fetch(get(server))

    assert (reply.status, len(server.requests)) == (503, 4)
    with pytest.raises(SandboxApiException) as caught:
        expect(get(server), reply)
    assert caught.value.is_retryable


async def test_a_post_is_repeated_only_when_it_was_not_sent(patient: Make, rude: Rude) -> None:
    server = rude(always(BUSY_FOR_A_MOMENT))
    told: list[RetryEvent] = []
    client = patient(on_retry=told.append)

    assert (await client.fetch(get(server, method="POST", json=b"{}"))).status == 503
    assert told == []
    with pytest.raises(SandboxConnectionException) as caught:
        await client.fetch(get(f"http://127.0.0.1:{free_port()}", method="POST", json=b"{}"))
    assert [event.cause for event in told] == [RetryCause.PRE_SEND] * 3
    assert caught.value.is_retryable


async def test_a_broken_connection_is_made_anew(patient: Make, rude: Rude) -> None:
    told: list[RetryEvent] = []
    server = rude(once(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab"), always(OK))

    reply = await patient(on_retry=told.append).fetch(get(server))

    assert reply.body == b"ok"
    assert [event.cause for event in told] == [RetryCause.UNEXPECTED_EOF]
    assert told[0].exception is not None


async def test_an_answer_that_is_not_taken_is_not_asked_for_again(
    patient: Make, rude: Rude
) -> None:
    packed = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nab"
    server = rude(always(packed))

    with pytest.raises(SandboxConnectionException) as caught:
        await patient().fetch(get(server))

    assert len(server.requests) == 1
    assert not caught.value.is_retryable


async def test_a_stream_is_begun_once(patient: Make, rude: Rude) -> None:
    server = rude(always(BUSY_FOR_A_MOMENT))

    with pytest.raises(SandboxApiException):
        await patient().stream(get(server))

    assert len(server.requests) == 1


async def test_a_body_that_can_be_read_once_is_sent_once(patient: Make, rude: Rude) -> None:
    server = rude(always(BUSY_FOR_A_MOMENT))
    policy = {"retryable_status_codes_non_idempotent": {503}}
    client = patient(**policy)

    file = [Part("file", "a", io.BytesIO(b"data"), "text/plain")]
    assert (await client.fetch(get(server, method="POST", parts=file))).status == 503
    assert len(server.requests) == 1
    data = [Part("file", "a", b"data", "text/plain")]
    assert (await client.fetch(get(server, method="POST", parts=data))).status == 503
    assert len(server.requests) == 5


async def test_who_polls_repeats_by_himself(patient: Make, rude: Rude) -> None:
    server = rude(always(BUSY_FOR_A_MOMENT))

    assert (await patient().fetch(get(server, once=True))).status == 503

    assert len(server.requests) == 1


async def test_nobody_waits_for_an_embedded_server_that_is_gone(patient: Make) -> None:
    told: list[RetryEvent] = []

    with pytest.raises(SandboxConnectionException):
        await patient(embedded=True, on_retry=told.append).fetch(
            get(f"http://127.0.0.1:{free_port()}")
        )

    assert told == []


async def test_an_attempt_that_drips_is_given_up(patient: Make, rude: Rude) -> None:
    def drip(peer: Peer) -> None:
        peer.request()
        peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        gone = peer.sock
        gone.settimeout(0.02)
        while True:
            peer.say(b"x")
            try:
                if not gone.recv(1):
                    return
            except TimeoutError:
                continue

    server = rude(drip, always(OK))
    client = patient(per_attempt_timeout=timedelta(seconds=0.3))

    assert (await client.fetch(get(server))).body == b"ok"
    assert server.connections == 2


async def test_the_deadline_ends_all_attempts(patient: Make, rude: Rude) -> None:
    server = rude(once(linger=True))

    with pytest.raises(SandboxTimeoutException) as caught:
        await patient(max_retries=99, overall_deadline=timedelta(seconds=0.3)).fetch(get(server))

    assert not caught.value.is_retryable


async def test_a_cancelled_wait_ends_at_once(rude: Rude) -> None:
    waiting = asyncio.Event()
    policy = RetryPolicy(
        initial_backoff=timedelta(hours=1),
        max_backoff=timedelta(hours=1),
        on_retry=lambda event: waiting.set(),
    )
    client = Async(retry_policy=policy)
    task = asyncio.create_task(client.fetch(get(rude(always(BUSY)))))
    await waiting.wait()

    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    await client.close()


async def test_a_transport_of_ones_own_decides_for_itself(
    colour: Callable[..., Colour], rude: Rude
) -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        return httpx.Response(503, headers={"Retry-After": "0"})

    transport = httpx.MockTransport(answer)
    assert (await colour(transport=transport).fetch(get("http://h"))).status == 503
    assert len(asked) == 1
    named = colour(transport=transport, retry_policy=RetryPolicy())
    assert (await named.fetch(get("http://h"))).status == 503
    assert len(asked) == 5


@pytest.mark.parametrize("policy", [{}, {"retry_policy": RetryPolicy()}])
async def test_a_retrying_transport_is_not_doubled_and_streams_go_past_it(
    colour: Callable[..., Colour], policy: dict[str, Any]
) -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        return httpx.Response(503, headers={"Retry-After": "0"})

    inner = httpx.MockTransport(answer)
    wrap: Any = RetryAsyncTransport if isinstance(colour(), Async) else RetrySyncTransport
    transport = wrap(inner, RetryPolicy(max_retries=1))
    client = colour(transport=transport, **policy)

    assert (await client.fetch(get("http://h"))).status == 503
    assert len(asked) == 2
    with pytest.raises(SandboxApiException):
        await client.stream(get("http://h"))
    assert len(asked) == 3
    assert unwrap_retry_transport(transport) is inner is unwrap_retry_transport(inner)


async def test_a_retrying_transport_works_for_any_client_of_httpx(rude: Rude) -> None:
    told: list[RetryEvent] = []
    quick = RetryPolicy(initial_backoff=timedelta(0), jitter=JitterMode.NONE, on_retry=told.append)
    secret = httpx.URL(rude(hesitant(2, BUSY)).url + "/a?token=secret")

    with httpx.Client(
        transport=RetrySyncTransport(httpx.HTTPTransport(), quick, owns_inner=True)
    ) as client:
        assert client.get(secret).text == "ok"
        with pytest.raises(httpx.ConnectError):
            client.post(f"http://127.0.0.1:{free_port()}")
    async with httpx.AsyncClient(
        transport=RetryAsyncTransport(httpx.AsyncHTTPTransport(), quick, owns_inner=True)
    ) as aclient:
        assert (await aclient.get(rude(hesitant(1, BUSY)).url)).text == "ok"

    assert len(told) == 2 + 3 + 1
    assert "secret" not in str([event.url for event in told])
