"""The SDK under test by its names. The environment says which one, in which colour, and where."""

from __future__ import annotations

import asyncio
import os
import time
import uuid
from collections.abc import Awaitable, Callable
from datetime import timedelta
from importlib import import_module
from typing import Any

from scenarios.colours import Face, drive, inner

PACKAGE = os.environ["SCENARIO_SDK"]
BLOCKING = os.environ["SCENARIO_COLOUR"] == "blocking"
OURS = PACKAGE != "opensandbox"
IMAGE = os.environ.get("SCENARIO_IMAGE") or "python:3"
PLACE = os.environ.get("SCENARIO_PLACE")
"""``host:port`` of an HTTP server that a sandbox may reach if its policy lets it, or none."""
LIFETIME = timedelta(minutes=10)
TAG = f"t{uuid.uuid4().hex[:12]}"

_root = import_module(PACKAGE)
_code = import_module("opensandbox_jupyter.code_interpreter" if OURS else "code_interpreter")
config = import_module(f"{PACKAGE}.config")
exceptions = import_module(f"{PACKAGE}.exceptions")
execd = import_module(f"{PACKAGE}.models.execd")
filesystem = import_module(f"{PACKAGE}.models.filesystem")
isolated = import_module(f"{PACKAGE}.models.isolated")
sandboxes = import_module(f"{PACKAGE}.models.sandboxes")
templates = import_module(f"{PACKAGE}.models.templates")
Language = _code.SupportedLanguage
ApiError = exceptions.SandboxApiException


class NotThere(Exception):
    """The server lacks this."""


def _class(module: Any, name: str) -> Any:
    return Face(getattr(module, f"{name}Sync")) if BLOCKING else getattr(module, name)


Sandbox = _class(_root, "Sandbox")
Manager = _class(_root, "SandboxManager")
_Interpreter = _class(_code, "CodeInterpreter")


def connection(**other: Any) -> Any:
    """Return how the server under test is reached, ``other`` settings apart."""
    settings = {
        "domain": os.environ["OPEN_SANDBOX_DOMAIN"],
        "api_key": os.environ.get("OPEN_SANDBOX_API_KEY", ""),
        "protocol": os.environ.get("OPEN_SANDBOX_PROTOCOL") or "http",
        "use_server_proxy": os.environ.get("OPEN_SANDBOX_USE_SERVER_PROXY", "") in {"1", "true"},
    }
    name = "ConnectionConfigSync" if BLOCKING else "ConnectionConfig"
    return getattr(config, name)(**settings | other)


async def create(image: str | None = IMAGE, **options: Any) -> Any:
    """Create a sandbox of this scenario; it is found, and removed at the end, by its label."""
    options = {"timeout": LIFETIME, "connection_config": connection(), "metadata": {}} | options
    options["metadata"] |= {"scenario": TAG}
    return await Sandbox.create(image, **options)


async def manager() -> Any:
    """Return a manager of the server's sandboxes."""
    return await Manager.create(connection())


async def interpreter(sandbox: Any) -> Any:
    """Return the code interpreter of a sandbox."""
    return await _Interpreter.create(inner(sandbox))


def handler(tell: Callable[[Any], Awaitable[None]]) -> Any:
    """Return a handler of this colour's own kind."""
    return (lambda message: drive(tell(message))) if BLOCKING else tell


def handlers(**by_name: Callable[[Any], Awaitable[None]]) -> Any:
    """Return handlers of this colour's own kind."""
    kind = execd.ExecutionHandlers
    if BLOCKING:
        kind = import_module(f"{PACKAGE}.models.execd_sync").ExecutionHandlersSync
    return kind(**{name: handler(tell) for name, tell in by_name.items()})


async def pause(seconds: float) -> None:
    """Wait a little before looking again."""
    if BLOCKING:
        time.sleep(seconds)
    else:
        await asyncio.sleep(seconds)


async def until(look: Callable[[], Awaitable[Any]], wanted: Callable[[Any], Any]) -> Any:
    """Return what ``look`` finds once it is ``wanted``."""
    deadline = time.monotonic() + 60
    while not wanted(found := await look()):
        assert time.monotonic() < deadline, found
        await pause(0.1)
    return found


async def refused(call: Awaitable[Any], *statuses: int) -> Any:
    """Return the error with which the server refuses ``call``."""
    try:
        found = await call
    except ApiError as error:
        assert not statuses or error.status_code in statuses, error
        return error
    raise AssertionError(f"it was not refused: {found!r}")


def invalid(make: Callable[[], Any]) -> None:
    """Expect that ``make`` fails before anything is sent."""
    try:
        found = make()
    except (ValueError, exceptions.InvalidArgumentException):
        return
    raise AssertionError(f"it was taken: {found!r}")


async def there(call: Awaitable[Any]) -> Any:
    """Return what comes of the first call to a feature, which not every server has.

    Raises:
        NotThere: when this one has not.
    """
    try:
        return await call
    except ApiError as error:
        code = str(error.error and error.error.code).upper()
        if error.status_code in {405, 501, 503} or "SUPPORTED" in code or _no_route(error):
            raise NotThere(f"{error.status_code} {code}") from error
        raise


def _no_route(error: Any) -> bool:
    """Return whether the path itself is unknown, not what it names."""
    return error.status_code == 404 and ("_NOT_FOUND" not in str(error.error and error.error.code))
