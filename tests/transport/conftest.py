"""Transports of both colours, and servers that misbehave."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from both_colours import Async, Blocking, Colour
from rude import RudeServer, Script

from opensandbox_jupyter.transport import RetryPolicy


@pytest.fixture(autouse=True)
def no_proxy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(params=[Async, Blocking], ids=["async", "blocking"])
async def colour(request: pytest.FixtureRequest) -> AsyncIterator[Callable[..., Colour]]:
    """Makes transports of one colour; they are closed after the test."""
    made: list[Colour] = []

    def make(**options: Any) -> Colour:
        made.append(request.param(**options))
        return made[-1]

    yield make
    for each in made:
        await each.close()


@pytest.fixture(params=["native", "httpx"])
def patient(request: pytest.FixtureRequest, colour: Callable[..., Colour]) -> Callable[..., Colour]:
    """Makes transports of one colour that retry quickly, over our own client or over httpx."""

    def make(embedded: bool = False, **policy: Any) -> Colour:
        options = {key: policy.pop(key) for key in ("follow_redirects", "headers") if key in policy}
        if request.param == "httpx":
            options["event_hooks"] = {"response": []}
        pauses = {"initial_backoff": timedelta(milliseconds=5), **policy}
        return colour(embedded=embedded, retry_policy=RetryPolicy(**pauses), **options)

    return make


@pytest.fixture
async def client(colour: Callable[..., Colour]) -> Colour:
    """A transport with a request timeout that no good answer needs."""
    return colour(request_timeout=timedelta(seconds=20), retry_policy=RetryPolicy.disabled())


@pytest.fixture
async def hasty(colour: Callable[..., Colour]) -> Colour:
    """A transport that waits for a short time only."""
    return colour(request_timeout=timedelta(seconds=0.2), retry_policy=RetryPolicy.disabled())


@pytest.fixture
def rude() -> Iterator[Callable[..., RudeServer]]:
    """Starts servers that play scripts."""
    servers: list[RudeServer] = []

    def start(*scripts: Script) -> RudeServer:
        servers.append(RudeServer(*scripts))
        return servers[-1]

    yield start
    for server in servers:
        server.close()
