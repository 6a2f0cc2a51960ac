"""The one edge where what goes wrong below an answer becomes an exception of this package."""

from __future__ import annotations

from collections.abc import Mapping

from opensandbox_jupyter.exceptions import (
    InvalidArgumentException,
    SandboxConnectionException,
    SandboxException,
    SandboxTimeoutException,
)
from opensandbox_jupyter.retry import RetryCause
from opensandbox_jupyter.wire.base import Call

__all__ = [
    "BadAddress",
    "Broken",
    "Failure",
    "HungUp",
    "TooSlow",
    "Unfit",
    "Unreachable",
    "Unusable",
    "translated",
]


_NO_SERVER = (
    "Is the server running, and is the address right? "
    "Look at OPEN_SANDBOX_DOMAIN or ConnectionConfig(domain=...)."
)
_NO_SANDBOX = (
    "It was killed, it expired or it is paused: get_info() tells which, and create() makes another."
)


class Failure(Exception):
    """No answer, or not all of it.

    Attributes:
        reason: the lower error, if there is one.
        cause: why the request may be sent again; ``None`` when that would not help.
        headers: those of an answer that broke off after its head.
    """

    cause: RetryCause | None = None

    def __init__(
        self, reason: BaseException | str | None = None, cause: RetryCause | None = None
    ) -> None:
        super().__init__(str(reason or type(self).__name__))
        self.reason = reason if isinstance(reason, BaseException) else self
        self.headers: Mapping[str, str] = {}
        if cause is not None:
            self.cause = cause


class Unreachable(Failure):
    """No connection could be made, or none that can be trusted."""

    cause: RetryCause | None = RetryCause.PRE_SEND

    def __init__(self, reason: BaseException | str | None = None) -> None:
        super().__init__(reason)
        if "CERTIFICATE_VERIFY_FAILED" in str(reason):  # it will not mend itself
            self.cause = None


class TooSlow(Failure):
    """Nothing came, or nothing could be sent, for as long as the request timeout."""

    cause = RetryCause.READ_TIMEOUT


class Broken(Failure):
    """The connection broke in the middle."""

    cause: RetryCause | None = RetryCause.OPAQUE_TRANSPORT


class HungUp(Broken):
    """The other side hung up in the middle, or what it said is not HTTP."""

    cause = RetryCause.UNEXPECTED_EOF


class Unfit(Broken):
    """An answer that is not taken, now or later: compressed, or too long."""

    cause = None


class Unusable(Broken):
    """The client was closed, or belongs to another event loop."""

    cause = None


class BadAddress(Failure):
    """The address cannot be one."""


def translated(call: Call, failure: Failure) -> SandboxException:
    """Return the exception that a caller sees for ``failure``."""
    error = _translated(call, failure)
    error.operation = call.name
    return error


def _translated(call: Call, failure: Failure) -> SandboxException:
    what, where, cause = call.name.replace("_", " "), call.origin.place, failure.reason
    if isinstance(failure, Unreachable):
        who = "the sandbox does not answer" if call.origin.is_sandbox else "nothing answers"
        return SandboxConnectionException(
            f"{what}: {who} at {where}.",
            cause=cause,
            is_retryable=failure.cause is not None,
            hint=_NO_SANDBOX if call.origin.is_sandbox else _NO_SERVER,
        )
    if isinstance(failure, TooSlow):
        return SandboxTimeoutException(
            f"{what}: no answer from {where} in time.",
            cause=cause,
            hint="The sandbox may be paused or very busy; "
            "ConnectionConfig(request_timeout=...) waits longer.",
        )
    if isinstance(failure, BadAddress):
        return InvalidArgumentException(
            f"{where} is not an address: {cause}",
            cause=cause,
            hint="A domain is host[:port], for example sandbox.example.com:8080.",
        )
    return SandboxConnectionException(
        f"{what}: the connection to {where} broke ({type(cause).__name__}).",
        cause=cause,
        is_retryable=failure.cause is RetryCause.OPAQUE_TRANSPORT,
        hint="The server or the sandbox was stopped in the middle: look at get_info().",
    )
