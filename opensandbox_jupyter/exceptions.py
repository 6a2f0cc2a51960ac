"""Every error that this package raises on purpose.

::

    SandboxException                        the root: one ``except`` catches all of it
    ├── SandboxApiException                 a server answered with status 300 or above
    │   ├── SandboxRateLimitException       … 429; ``retry_after`` says how long to wait
    │   └── MalformedAnswerException        … or with a body that cannot be read
    ├── SandboxInternalException            something failed on this side of the wire
    │   ├── SandboxTimeoutException         no answer within ``request_timeout``
    │   └── SandboxConnectionException      the server was not reached, or it hung up
    │       └── ExecutionDisconnected       … in the middle of a command or of code
    ├── SandboxUnhealthyException           the sandbox is there but does not answer
    ├── SandboxReadyTimeoutException        the sandbox was not ready within ``ready_timeout``
    ├── InvalidArgumentException            an argument was refused before anything was sent
    ├── PoolEmptyException                  no sandbox was ready, and the policy makes none
    ├── PoolAcquireFailedException          those that were ready could not be used
    ├── PoolNotRunningException             the pool was not started, or is shutting down
    ├── PoolStateStoreUnavailableException  what keeps the pool's state did not answer
    ├── PoolDestroyedException              the pool's name was destroyed
    ├── PoolDestroyIncompleteException      … or only in part; destroying it again goes on
    ├── UnsupportedOperationException       the protocol in use has no such operation
    ├── LocalServerException                the embedded server could not be started or used
    │   └── IsolationUnavailableException   … because this host cannot isolate a sandbox
    ├── CommandFailed                       a checked command ended with a non-zero exit code
    ├── TransferException                   a copy is not what it was copied from
    └── PtyException                        a terminal refused or ended; its code says why
        ├── PtyAlreadyConnected             … another client looks at it
        ├── PtyTakenOver                    … another client has taken it over
        └── PtySessionGone                  … it was deleted, or never was

    KeyboardInterrupt
    └── CommandInterrupted                  a person interrupted a running command

Names up to ``PoolDestroyIncompleteException`` are those of OpenSandbox's own Python SDK.
Each error is one sentence that says what happened, with a ``hint`` that says what to do next.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opensandbox_jupyter.models.execd import CommandStatus
    from opensandbox_jupyter.models.execution import Execution

__all__ = [
    "CommandFailed",
    "CommandInterrupted",
    "ExecutionDisconnected",
    "InvalidArgumentException",
    "IsolationUnavailableException",
    "LocalServerException",
    "MalformedAnswerException",
    "PoolAcquireFailedException",
    "PoolDestroyIncompleteException",
    "PoolDestroyedException",
    "PoolEmptyException",
    "PoolNotRunningException",
    "PoolStateStoreUnavailableException",
    "PtyAlreadyConnected",
    "PtyException",
    "PtySessionGone",
    "PtyTakenOver",
    "SandboxApiException",
    "SandboxConnectionException",
    "SandboxError",
    "SandboxException",
    "SandboxInternalException",
    "SandboxRateLimitException",
    "SandboxReadyTimeoutException",
    "SandboxTimeoutException",
    "SandboxUnhealthyException",
    "TransferException",
    "UnsupportedOperationException",
]

_RETRYABLE_STATUS = frozenset({429, 502, 503})


class SandboxError:
    """A machine-readable reason: ``code`` for programs, ``message`` for people.

    For an answer of a server, ``code`` is the server's own string (for example
    ``DOCKER::SANDBOX_NOT_FOUND``); otherwise it is one of the constants below.
    """

    INTERNAL_UNKNOWN_ERROR = "INTERNAL_UNKNOWN_ERROR"
    READY_TIMEOUT = "READY_TIMEOUT"
    UNHEALTHY = "UNHEALTHY"
    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    UNEXPECTED_RESPONSE = "UNEXPECTED_RESPONSE"
    TIMEOUT = "TIMEOUT"
    CONNECTION = "CONNECTION"
    RATE_LIMIT = "RATE_LIMIT"
    POOL_EMPTY = "POOL_EMPTY"
    POOL_ACQUIRE_FAILED = "POOL_ACQUIRE_FAILED"
    POOL_NOT_RUNNING = "POOL_NOT_RUNNING"
    POOL_STATE_STORE_UNAVAILABLE = "POOL_STATE_STORE_UNAVAILABLE"
    POOL_DESTROYED = "POOL_DESTROYED"
    POOL_DESTROY_INCOMPLETE = "POOL_DESTROY_INCOMPLETE"
    UNSUPPORTED_OPERATION = "UNSUPPORTED_OPERATION"
    LOCAL_SERVER = "LOCAL_SERVER"
    ISOLATION_UNAVAILABLE = "ISOLATION_UNAVAILABLE"
    COMMAND_FAILED = "COMMAND_FAILED"
    TRANSFER_FAILED = "TRANSFER_FAILED"
    RUNTIME_ERROR = "RUNTIME_ERROR"
    ALREADY_CONNECTED = "ALREADY_CONNECTED"
    TAKEN_OVER = "TAKEN_OVER"
    SESSION_GONE = "SESSION_GONE"

    __slots__ = ("code", "message")

    def __init__(self, code: str, message: str | None = None) -> None:
        self.code = code
        self.message = message

    def __repr__(self) -> str:
        return f"SandboxError(code={self.code!r}, message={self.message!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SandboxError):
            return NotImplemented
        return (self.code, self.message) == (other.code, other.message)

    def __hash__(self) -> int:
        return hash((self.code, self.message))


class SandboxException(Exception):
    """The root of every error of this package.

    Attributes:
        message: what happened, one sentence.
        hint: what to do next, one sentence, or ``None``.
        error: the machine-readable reason.
        request_id: the server's ``X-Request-ID``, to find the request in its log.
        operation: the operation's name, for example ``get_sandbox``, once something was sent.
        cause: the lower error that led to this one; it is not pickled, since it may hold a key.
    """

    default_code = SandboxError.INTERNAL_UNKNOWN_ERROR

    def __init__(
        self,
        message: str | None = None,
        *,
        cause: BaseException | None = None,
        error: SandboxError | None = None,
        request_id: str | None = None,
        hint: str | None = None,
        is_retryable: bool = False,
    ) -> None:
        super().__init__(message or type(self).__name__)
        self.message = message
        self.cause = cause
        self.error = error or SandboxError(self.default_code, message)
        self.request_id = request_id
        self.operation: str | None = None
        self.hint = hint
        self._is_retryable = is_retryable
        if cause is not None:
            self.__cause__ = cause

    @property
    def is_retryable(self) -> bool:
        """Whether the same call may well succeed when made again."""
        return self._is_retryable

    def __reduce__(self) -> tuple[Any, ...]:
        return _revived, (type(self), self.args, {**self.__dict__, "cause": None})

    def __str__(self) -> str:
        text = super().__str__()
        return f"{text}\n{self.hint}" if self.hint else text

    def _render_traceback_(self) -> list[str]:
        """Draw this error in a notebook: message and hint, without the frames of this package."""
        title = f"\x1b[31m{type(self).__name__}\x1b[0m: {printable(Exception.__str__(self))}"
        lines = [title]
        if self.hint:
            lines.append(f"\x1b[36mhint:\x1b[0m {printable(self.hint)}")
        if self.request_id:
            lines.append(f"request id: {printable(self.request_id)}")
        return lines


class SandboxApiException(SandboxException):
    """A server answered with a status that is not the documented success.

    Attributes:
        status_code: the HTTP status, or ``None`` when the error came inside a stream.
        response_body: the first bytes of the answer, as sent, but without keys.
    """

    default_code = SandboxError.UNEXPECTED_RESPONSE

    def __init__(
        self,
        message: str | None = None,
        *,
        status_code: int | None = None,
        response_body: bytes | None = None,
        operation: str | None = None,
        cause: BaseException | None = None,
        error: SandboxError | None = None,
        request_id: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(
            message,
            cause=cause,
            error=error,
            request_id=request_id,
            hint=hint,
            is_retryable=status_code in _RETRYABLE_STATUS,
        )
        self.status_code = status_code
        self.response_body = response_body
        self.operation = operation


class SandboxRateLimitException(SandboxApiException):
    """The server asked to slow down (429). ``retry_after`` is its own wish, if it said one."""

    default_code = SandboxError.RATE_LIMIT
    retry_after: timedelta | None = None


def _revived(
    kind: type[SandboxException], arguments: tuple[Any, ...], state: dict[str, Any]
) -> SandboxException:
    """Return a pickled exception as it was."""
    error = kind.__new__(kind, *arguments)
    error.__dict__.update(state)
    return error


class SandboxInternalException(SandboxException):
    """Something failed on this side of the wire."""


class SandboxTimeoutException(SandboxInternalException):
    """No answer came within ``request_timeout``. The request may have been carried out."""

    default_code = SandboxError.TIMEOUT


class SandboxConnectionException(SandboxInternalException):
    """The server could not be reached, or the connection broke in the middle."""

    default_code = SandboxError.CONNECTION


class ExecutionDisconnected(SandboxConnectionException):
    """The connection broke in the middle of an execution, which may go on without it.

    It is not retryable: what was begun would be done twice.

    Attributes:
        execution: what has come so far.
        execution_id: its id, to ask after it and to end it; ``None`` when it was not told yet.
        status: how the command fares, asked afterwards; ``None`` when that is not known.
    """

    def __init__(
        self,
        message: str,
        *,
        execution: Execution,
        status: CommandStatus | None = None,
        cause: BaseException | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, cause=cause, hint=hint)
        self.execution = execution
        self.execution_id = execution.id
        self.status = status


class SandboxUnhealthyException(SandboxException):
    """The sandbox exists but does not answer its health check."""

    default_code = SandboxError.UNHEALTHY


class SandboxReadyTimeoutException(SandboxException):
    """The sandbox was not ready in time. ``cause`` holds the last answer that was not one."""

    default_code = SandboxError.READY_TIMEOUT


class InvalidArgumentException(SandboxException):
    """An argument was refused before anything was sent, or an answer could not be read."""

    default_code = SandboxError.INVALID_ARGUMENT


class MalformedAnswerException(SandboxApiException, InvalidArgumentException):
    """A server's answer is not what the protocol promises; ``status_code`` may well be 200."""

    default_code = SandboxError.UNEXPECTED_RESPONSE


class PoolEmptyException(SandboxException):
    """No sandbox was ready, and the acquire policy does not make one."""

    default_code = SandboxError.POOL_EMPTY


class PoolAcquireFailedException(SandboxException):
    """The sandboxes that were ready could not be used. ``cause`` is why the last one could not."""

    default_code = SandboxError.POOL_ACQUIRE_FAILED


class PoolNotRunningException(SandboxException):
    """The pool was not started, or is shutting down."""

    default_code = SandboxError.POOL_NOT_RUNNING


class PoolStateStoreUnavailableException(SandboxException):
    """What keeps the pool's state did not answer, or not as it should."""

    default_code = SandboxError.POOL_STATE_STORE_UNAVAILABLE


class PoolDestroyedException(SandboxException):
    """The pool's name is being destroyed, or was."""

    default_code = SandboxError.POOL_DESTROYED


class PoolDestroyIncompleteException(SandboxException):
    """Something of the pool is left. It takes no sandboxes; destroying it again goes on."""

    default_code = SandboxError.POOL_DESTROY_INCOMPLETE


class UnsupportedOperationException(SandboxException):
    """The protocol in use has no such operation.

    Attributes:
        feature: what was asked for.
        protocol: the protocol that lacks it.
    """

    default_code = SandboxError.UNSUPPORTED_OPERATION

    def __init__(self, feature: str, protocol: str) -> None:
        super().__init__(f"{protocol} has no operation for {feature}.")
        self.feature = feature
        self.protocol = protocol


class LocalServerException(SandboxException):
    """The embedded server could not be started, found or used."""

    default_code = SandboxError.LOCAL_SERVER


class IsolationUnavailableException(LocalServerException):
    """This host cannot isolate a sandbox; the hint names what is missing or what forbids it."""

    default_code = SandboxError.ISOLATION_UNAVAILABLE


class CommandFailed(SandboxException):
    """A checked command or piece of code ended badly.

    Attributes:
        exit_code: the exit code, or ``None`` when the command did not start or it was code.
        run_id: the number of the run in this session, when it was started by a magic.
        tail: the last lines of its error output.
        execution: all that became of it, when it was run by the SDK.
    """

    default_code = SandboxError.COMMAND_FAILED

    def __init__(
        self,
        message: str,
        *,
        exit_code: int | None = None,
        run_id: int | None = None,
        tail: str = "",
        execution: Execution | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.execution = execution
        self.exit_code = exit_code
        self.run_id = run_id
        self.tail = tail


class TransferException(SandboxException):
    """A file could not be copied as it is: it changed meanwhile, was damaged, or is too much."""

    default_code = SandboxError.TRANSFER_FAILED


class PtyException(SandboxException):
    """A terminal refused something, or ended. ``error.code`` is the daemon's own word for it."""

    default_code = SandboxError.RUNTIME_ERROR


class PtyAlreadyConnected(PtyException):
    """Another client looks at the terminal; ``takeover=True`` takes its place."""

    default_code = SandboxError.ALREADY_CONNECTED


class PtyTakenOver(PtyException):
    """Another client has taken the terminal over; it goes on there."""

    default_code = SandboxError.TAKEN_OVER


class PtySessionGone(PtyException):
    """There is no such terminal, or it was deleted."""

    default_code = SandboxError.SESSION_GONE


class CommandInterrupted(KeyboardInterrupt):
    """A person interrupted a running command; the message says what became of it.

    It is a ``KeyboardInterrupt``, so that Run All stops and ``except Exception`` lets it pass.
    """

    def _render_traceback_(self) -> list[str]:
        return [f"\x1b[31mInterrupted\x1b[0m: {printable(str(self))}"]


def printable(text: str) -> str:
    """Return ``text`` with control and direction characters made visible, so it only shows."""
    return "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in text)
