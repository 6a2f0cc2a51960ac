"""Both colours of the SDK behind one face, against the embedded server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from scenarios.colours import Face

from opensandbox_jupyter import (
    ConnectionConfig,
    ConnectionConfigSync,
    Sandbox,
    SandboxManager,
    SandboxManagerSync,
    SandboxSync,
)
from opensandbox_jupyter.exceptions import SandboxApiException
from opensandbox_jupyter.local import LocalServer, ensure_server

ASYNC = SimpleNamespace(
    name="async", Sandbox=Sandbox, Manager=SandboxManager, Config=ConnectionConfig
)
BLOCKING = SimpleNamespace(
    name="blocking",
    Sandbox=Face(SandboxSync),
    Manager=Face(SandboxManagerSync),
    Config=ConnectionConfigSync,
)


@pytest.fixture(scope="session")
def embedded() -> LocalServer:
    """The embedded server of this test session."""
    return ensure_server()


@pytest.fixture(params=[ASYNC, BLOCKING], ids=lambda p: p.name)
def sdk(request: pytest.FixtureRequest, embedded: Any) -> SimpleNamespace:
    """One colour of the SDK, with the embedded server as its default."""
    return request.param


@pytest.fixture
async def sandbox(sdk: SimpleNamespace) -> AsyncIterator[Any]:
    """A sandbox of its own for one test."""
    box = await sdk.Sandbox.create("base", timeout=timedelta(minutes=5))
    yield box
    with suppress(SandboxApiException):  # some tests kill it themselves
        await box.destroy()
