"""Which client carries the requests, and what both colours of driver hold in common."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from opensandbox_jupyter import __version__
from opensandbox_jupyter.constants import REQUEST_ID_HEADER
from opensandbox_jupyter.exceptions import (
    InvalidArgumentException,
    MalformedAnswerException,
    SandboxException,
)
from opensandbox_jupyter.secrecy import masked, secrets_of
from opensandbox_jupyter.transport.failures import Failure, translated
from opensandbox_jupyter.wire.base import Call, Effect, Operation, Reply
from opensandbox_jupyter.wire.errors import about

if TYPE_CHECKING:
    from opensandbox_jupyter.settings import Settings

log = logging.getLogger("opensandbox_jupyter")

MAX_ERROR_BODY = 64 * 1024
"""How much of a refused stream's body is read, in bytes."""

TAIL_BOUND = 0.02
"""How long to wait for the end of a stream after its last event, in seconds."""

_PROXIES = ("http_proxy", "https_proxy", "all_proxy")


def needs_httpx(settings: Settings, *, embedded: bool) -> bool:
    """Return whether a transport was given, or a proxy named in the environment may be needed.

    The embedded server is never asked through a proxy.
    """
    return settings.transport is not None or (not embedded and _proxy_is_named())


def common_headers(settings: Settings) -> dict[str, str]:
    """Return the headers of every request; switch the log on if it is wanted."""
    if settings.debug:
        log.setLevel(logging.DEBUG)
    agent = settings.user_agent or f"opensandbox-jupyter/{__version__}"
    return {"User-Agent": agent, **settings.headers}


def go_on(
    operation: Operation[Any], effect: Effect, answer: object, headers: Mapping[str, str]
) -> Effect:
    """Send an operation its answer; an answer that it cannot read is named in the error."""
    try:
        return operation.send(answer)
    except MalformedAnswerException as error:
        if isinstance(effect, Call) and isinstance(answer, Reply) and error.status_code is None:
            about(error, effect, censored(answer, headers))
        raise


def censored(reply: Reply, headers: Mapping[str, str]) -> Reply:
    """Return a refusal without what may be secret in the headers that go with every request."""
    own = [value for name, value in headers.items() if name.lower() != "user-agent"]
    return replace(reply, body=masked(reply.body, [*own, *secrets_of(headers)]))


def located(failure: Failure, call: Call, headers: Mapping[str, str]) -> SandboxException:
    """Return the exception for an answer that broke off; what its head said is kept."""
    error = translated(call, failure)
    describe(error, call, headers)
    return error


def describe(error: SandboxException, call: Call, headers: Mapping[str, str]) -> None:
    """Say in an error which answer it is about, unless it came from another call."""
    if error.operation in (None, call.name) and error.request_id is None:
        error.operation = call.name
        error.request_id = headers.get(REQUEST_ID_HEADER.lower(), "").strip() or None


def unusable_proxy(kind: str) -> InvalidArgumentException:
    """Return the exception for a proxy of the environment; its address may hold a password."""
    return InvalidArgumentException(
        f"The proxy that the environment names cannot be used ({kind}).",
        hint="Look at HTTP_PROXY, HTTPS_PROXY and ALL_PROXY; socks5:// needs the packages socksio "
        "and python-socks. NO_PROXY names hosts that are asked directly.",
    )


def _proxy_is_named() -> bool:
    return any(name.lower() in _PROXIES and value for name, value in os.environ.items())
