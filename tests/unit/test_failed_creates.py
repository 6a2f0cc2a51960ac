"""A create that fails half-way leaves no sandbox behind, as far as its id can be known."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest

from opensandbox_jupyter import ConnectionConfig, ConnectionConfigSync, Sandbox, SandboxSync
from opensandbox_jupyter.exceptions import (
    InvalidArgumentException,
    MalformedAnswerException,
    SandboxApiException,
    SandboxException,
    SandboxReadyTimeoutException,
    SandboxTimeoutException,
)

Answer = tuple[int, Any] | type[Exception]
ENDPOINT = "/v1/sandboxes/a/endpoints/44772"


class Server(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """Answers as it is told, else well; remembers what was killed."""

    def __init__(self, told: dict[str, Answer], during_create: Callable[[], Any] = int) -> None:
        self.told, self.during_create = told, during_create
        self.killed: list[str] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if request.method == "DELETE":
            self.killed.append(path.rsplit("/", 1)[-1])
            return httpx.Response(204)
        if request.method == "POST":
            self.during_create()
        answer = self.told.get(path)
        if isinstance(answer, type):
            raise answer("told so")
        good = {"/v1/sandboxes": 202, ENDPOINT: 200, "/ping": 200}[path]
        status, body = answer or (good, {"id": "a", "endpoint": "s:1"})
        return httpx.Response(status, text=body if isinstance(body, str) else json.dumps(body))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await asyncio.to_thread(self.handle_request, request)


CASES: list[tuple[str, dict[str, Answer], type[SandboxException], bool]] = [
    ("refused", {"/v1/sandboxes": (403, "")}, SandboxApiException, False),
    ("another status", {"/v1/sandboxes": (201, {"id": "a"})},
     SandboxApiException, True),
    ("cut answer", {"/v1/sandboxes": (202, '{"status": 1, "id": "a", "x')},
     MalformedAnswerException, True),
    ("no id", {"/v1/sandboxes": (202, {})}, MalformedAnswerException, False),
    ("no answer", {"/v1/sandboxes": httpx.ReadTimeout}, SandboxTimeoutException, False),
    ("endpoint refused", {ENDPOINT: (500, "")}, SandboxApiException, True),
    ("endpoint malformed", {ENDPOINT: (200, "[")},
     MalformedAnswerException, True),
    ("endpoint nowhere", {ENDPOINT: (200, {"endpoint": "h:no"})},
     InvalidArgumentException, True),
    ("key refused", {"/ping": (401, "")}, SandboxApiException, True),
    ("never ready", {"/ping": (503, "")}, SandboxReadyTimeoutException, True),
    ("never there", {"/ping": httpx.ConnectError}, SandboxReadyTimeoutException, True),
]  # fmt: skip


async def create(colour: str, server: Server, **more: Any) -> None:
    options: dict[str, Any] = {"ready_timeout": timedelta(seconds=0.05), **more}
    if colour == "async":
        config = ConnectionConfig(domain="h", transport=server)
        await Sandbox.create("a", connection_config=config, **options)
    else:
        blocking = ConnectionConfigSync(domain="h", transport=server)
        SandboxSync.create("a", connection_config=blocking, **options)


@pytest.mark.parametrize("colour", ["async", "blocking"])
@pytest.mark.parametrize(
    ("told", "kind", "made"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
async def test_what_was_made_is_killed(
    colour: str, told: dict[str, Answer], kind: type[SandboxException], made: bool
) -> None:
    server = Server(told)

    with pytest.raises(kind) as caught:
        await create(colour, server)

    assert server.killed == ["a"] * made
    if isinstance(caught.value, SandboxApiException):
        assert caught.value.status_code
        assert caught.value.operation in ("create_sandbox", "get_endpoint", "ping")


@pytest.mark.parametrize("colour", ["async", "blocking"])
async def test_a_health_check_that_raises_ends_it(colour: str) -> None:
    server = Server({})

    def check(_: object) -> bool:
        raise LookupError("mine")

    with pytest.raises(LookupError):
        await create(colour, server, health_check=check)
    assert server.killed == ["a"]


async def test_a_cancelled_create_waits_for_its_answer_and_kills() -> None:
    asked, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        asked.set()
        go_on.wait(20)

    server = Server({}, hold)
    task = asyncio.ensure_future(create("async", server))
    await asyncio.to_thread(asked.wait, 20)
    task.cancel()
    await asyncio.sleep(0)
    go_on.set()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert server.killed == ["a"]


def test_an_interrupted_create_waits_for_its_answer_and_kills() -> None:
    def interrupt() -> None:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    server = Server({}, interrupt)
    with pytest.raises(KeyboardInterrupt):
        SandboxSync.create(
            "a", connection_config=ConnectionConfigSync(domain="h", transport=server)
        )
    assert server.killed == ["a"]


def test_a_cancelled_wait_for_readiness_kills() -> None:
    server = Server({"/ping": (503, "")})

    async def main() -> None:
        task = asyncio.ensure_future(create("async", server, ready_timeout=timedelta(seconds=30)))
        done, _ = await asyncio.wait([task], timeout=0.1)
        assert not done
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert server.killed == ["a"]
