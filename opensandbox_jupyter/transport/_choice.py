"""Which client carries the requests, and what both colours of driver hold in common."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from opensandbox_jupyter import __version__
from opensandbox_jupyter.constants import EVENT_STREAM, REQUEST_ID_HEADER
from opensandbox_jupyter.exceptions import (
    InvalidArgumentException,
    MalformedAnswerException,
    SandboxException,
    printable,
)
from opensandbox_jupyter.retry import Attempts, RetryCause, RetryPolicy
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


def log_call(call: Call) -> None:
    """Note a request: neither headers nor query nor body, in which secrets may be."""
    log.debug("%s: %s %s%s", call.name, call.method, call.origin.place, call.path)


def needs_httpx(settings: Settings, *, embedded: bool) -> bool:
    """Return whether a transport or hooks were given, or a proxy of the environment may be needed.

    The embedded server is never asked through a proxy.
    """
    if settings.transport is not None or settings.event_hooks:
        return True
    return not embedded and _proxy_is_named()


def policy_of(settings: Settings) -> RetryPolicy:
    """Return when requests are sent again.

    Whoever gives a transport has decided that too, unless he names a policy as well.
    """
    named = settings.retry_policy
    if settings.transport is None:
        return named or RetryPolicy()
    from opensandbox_jupyter.transport import unwrap_retry_transport

    if named is None or unwrap_retry_transport(settings.transport) is not settings.transport:
        return RetryPolicy.disabled()
    return named


def attempts_of(policy: RetryPolicy, call: Call) -> Attempts | None:
    """Return the attempts of a call; ``None`` for one that is sent only once, without a bound."""
    if call.once or not policy.wraps_transport():
        return None
    url = call.origin.place + call.path
    return Attempts(policy, call.method, url, replayable=call.replayable)


def pause_after(attempts: Attempts | None, failure: Failure, *, embedded: bool) -> float | None:
    """Return how long to wait after a failure, ``None`` when it is final.

    Nobody waits for the embedded server: where it cannot be reached, it has ended.
    """
    if attempts is None or failure.cause is None:
        return None
    if embedded and failure.cause is RetryCause.PRE_SEND:
        return None
    return attempts.after_failure(failure.cause, failure.reason)


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


def refuse_other_kind(call: Call, headers: Mapping[str, str]) -> None:
    """Refuse an answer that says of itself that it is not the stream of events asked for.

    Raises:
        MalformedAnswerException: for a page, for example.
    """
    if call.headers.get("Accept") != EVENT_STREAM:
        return
    kind = headers.get("content-type", EVENT_STREAM).partition(";")[0].strip().lower()
    if kind != EVENT_STREAM:
        raise MalformedAnswerException(
            f"{call.name.replace('_', ' ')}: the answer is no stream of events, "
            f"but {printable(kind[:80]) or 'of no kind'}.",
            status_code=200,
            operation=call.name,
            hint="Is this the address of a sandbox? A proxy may have answered instead.",
        )


def unusable_proxy(kind: str) -> InvalidArgumentException:
    """Return the exception for a proxy of the environment; its address may hold a password."""
    return InvalidArgumentException(
        f"The proxy that the environment names cannot be used ({kind}).",
        hint="Look at HTTP_PROXY, HTTPS_PROXY and ALL_PROXY; socks5:// needs the packages socksio "
        "and python-socks. NO_PROXY names hosts that are asked directly.",
    )


def _proxy_is_named() -> bool:
    return any(name.lower() in _PROXIES and value for name, value in os.environ.items())
