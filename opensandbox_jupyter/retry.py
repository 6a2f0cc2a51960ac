"""When a request is sent again. Pure: what happened goes in, how long to wait comes out."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from enum import Enum

from opensandbox_jupyter.exceptions import InvalidArgumentException
from opensandbox_jupyter.models.durations import duration, lasting

__all__ = ["Attempts", "JitterMode", "RetryCause", "RetryEvent", "RetryPolicy", "retry_after"]

IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS"})
"""Methods that do the same when they are sent twice (RFC 9110)."""

_LONGEST_WISH = 60.0
_OVERFLOW = timedelta(days=36_500)


class JitterMode(str, Enum):
    """How chance changes a pause, so that clients do not come back all at once."""

    NONE = "none"
    FULL = "full"
    """Anything from nothing to the whole pause."""
    DECORRELATED = "decorrelated"
    """The first pause, then anything from that to the last one times the multiplier."""


class RetryCause(str, Enum):
    """Why a request is sent again."""

    PRE_SEND = "pre_send"
    OPAQUE_TRANSPORT = "opaque_transport"
    READ_TIMEOUT = "read_timeout"
    WRITE_TIMEOUT = "write_timeout"
    UNEXPECTED_EOF = "unexpected_eof"
    STATUS_408 = "status_408"
    STATUS_425 = "status_425"
    STATUS_429 = "status_429"
    STATUS_500 = "status_500"
    STATUS_502 = "status_502"
    STATUS_503 = "status_503"
    STATUS_504 = "status_504"
    STATUS_OTHER = "status_other"

    @classmethod
    def for_status(cls, status_code: int) -> RetryCause:
        """Return the cause that a status is."""
        name = f"status_{status_code}"
        return cls(name) if name in cls._value2member_map_ else cls.STATUS_OTHER


@dataclass(frozen=True)
class RetryEvent:
    """What ``on_retry`` is told before each pause.

    Attributes:
        attempt: the number of the attempt to come; the first of all is 1.
        retries_used: how many repeats there were before.
        method: of the request.
        url: where it goes, without its query.
        cause: why it is sent again.
        status_code: of the answer, if there was one.
        backoff: how long the pause will be.
        request_id: the server's name for the request, if it answered.
        exception: what went wrong below an answer.
    """

    attempt: int
    retries_used: int
    method: str
    url: str
    cause: RetryCause
    status_code: int | None
    backoff: timedelta
    request_id: str | None
    exception: BaseException | None


@dataclass(frozen=True)
class RetryPolicy:
    """How often, and after which pauses, a request is sent again.

    A request that no connection could be made for is sent again whatever its method; else only
    GET, HEAD, PUT, DELETE and OPTIONS are. Streams, and bodies that can be read only once, never.
    ``Retry-After`` is heeded, up to 60 s. What the pause would take beyond ``overall_deadline``
    is not waited for. Lengths of time are timedeltas, or seconds.

    Attributes:
        max_retries: repeats after the first attempt; 0 for none.
        initial_backoff: the first pause.
        max_backoff: the longest pause.
        backoff_multiplier: how pauses grow.
        jitter: how chance changes them.
        retryable_status_codes_idempotent: answers to try again after.
        retryable_status_codes_non_idempotent: the same for POST and PATCH; none by default.
        per_attempt_timeout: how long one attempt may take.
        overall_deadline: how long all of them may take, pauses included.
        on_retry: told of each repeat before its pause; must not block, and what it raises is lost.

    Raises:
        InvalidArgumentException: for a value that cannot be used.
    """

    max_retries: int = 3
    initial_backoff: timedelta = timedelta(milliseconds=500)
    max_backoff: timedelta = timedelta(seconds=30)
    backoff_multiplier: float = 2.0
    jitter: JitterMode = JitterMode.DECORRELATED
    retryable_status_codes_idempotent: Collection[int] = frozenset({429, 502, 503})
    retryable_status_codes_non_idempotent: Collection[int] = frozenset()
    per_attempt_timeout: timedelta | None = None
    overall_deadline: timedelta | None = None
    on_retry: Callable[[RetryEvent], None] | None = None

    def __post_init__(self) -> None:
        if self.max_retries < 0 or not self.backoff_multiplier >= 1:
            raise InvalidArgumentException(
                "RetryPolicy: max_retries must be at least 0, and backoff_multiplier at least 1."
            )
        for name in ("initial_backoff", "max_backoff"):
            object.__setattr__(self, name, duration(getattr(self, name), name))
        for name in ("per_attempt_timeout", "overall_deadline"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, lasting(getattr(self, name), name))
        for name in ("idempotent", "non_idempotent"):
            field = f"retryable_status_codes_{name}"
            object.__setattr__(self, field, frozenset(getattr(self, field)))

    @classmethod
    def disabled(cls) -> RetryPolicy:
        """Return the policy of those who would rather know at once."""
        return cls(max_retries=0)

    def wraps_transport(self) -> bool:
        """Return whether the policy asks for anything at all."""
        bounds = (self.per_attempt_timeout, self.overall_deadline, self.on_retry)
        return self.max_retries > 0 or any(bound is not None for bound in bounds)

    def retryable_statuses_for(self, method: str) -> frozenset[int]:
        """Return the answers after which a request of this method is sent again."""
        if method.upper() in IDEMPOTENT:
            return frozenset(self.retryable_status_codes_idempotent)
        return frozenset(self.retryable_status_codes_non_idempotent)


class Attempts:
    """The attempts of one request: told how each ended, says what to do.

    Args:
        policy: how often, and after which pauses.
        method: of the request.
        url: where it goes, as an event may tell it.
        replayable: whether it can be sent twice.
        clock: seconds, only ever forward.
        uniform: chance, as ``random.uniform``.
    """

    __slots__ = ("_begun", "_clock", "_last", "_method", "_policy", "_replayable", "_uniform",
                 "_url", "used")  # fmt: skip

    def __init__(
        self,
        policy: RetryPolicy,
        method: str,
        url: str,
        *,
        replayable: bool = True,
        clock: Callable[[], float] = time.monotonic,
        uniform: Callable[[float, float], float] | None = None,
    ) -> None:
        self._policy, self._method, self._url = policy, method.upper(), url
        self._replayable, self._clock, self._uniform = replayable, clock, uniform
        self._begun = clock()
        self._last = 0.0
        self.used = 0

    def bound(self) -> float | None:
        """Return how many seconds the next attempt may take; ``None`` does not bound it."""
        each = self._policy.per_attempt_timeout
        bounds = [self._left(), None if each is None else each.total_seconds()]
        known = [max(0.0, bound) for bound in bounds if bound is not None]
        return min(known) if known else None

    def after_failure(
        self, cause: RetryCause, exception: BaseException | None = None
    ) -> float | None:
        """Return the pause after an attempt without an answer; ``None`` when it was the last."""
        if cause is not RetryCause.PRE_SEND and self._method not in IDEMPOTENT:
            return None
        return self._pause(cause, exception=exception)

    def after_answer(self, status: int, headers: Mapping[str, str]) -> float | None:
        """Return the pause after an answer; ``None`` when it is the one to take."""
        if status < 400 or status not in self._policy.retryable_statuses_for(self._method):
            return None
        wish = retry_after(headers.get("retry-after", ""))
        wanted = None if wish is None else min(_LONGEST_WISH, wish.total_seconds())
        request_id = headers.get("x-request-id", "").strip() or None
        return self._pause(RetryCause.for_status(status), wanted, status, request_id)

    def _pause(
        self,
        cause: RetryCause,
        wanted: float | None = None,
        status: int | None = None,
        request_id: str | None = None,
        exception: BaseException | None = None,
    ) -> float | None:
        if self.used >= self._policy.max_retries or not self._replayable:
            return None
        pause = self._backoff() if wanted is None else wanted
        left = self._left()
        if left is not None and pause >= left:
            return None
        event = RetryEvent(
            attempt=self.used + 2,
            retries_used=self.used,
            method=self._method,
            url=self._url,
            cause=cause,
            status_code=status,
            backoff=timedelta(seconds=pause),
            request_id=request_id,
            exception=exception,
        )
        self.used += 1
        self._last = pause
        _tell(event, self._policy.on_retry)
        return pause

    def _backoff(self) -> float:
        policy = self._policy
        first, most = policy.initial_backoff.total_seconds(), policy.max_backoff.total_seconds()
        if policy.jitter is JitterMode.DECORRELATED:
            high = min(most, self._last * policy.backoff_multiplier) if self.used else first
            return min(most, self._between(min(first, high), high))
        try:
            whole = min(most, first * policy.backoff_multiplier**self.used)
        except OverflowError:
            whole = most
        return self._between(0.0, whole) if policy.jitter is JitterMode.FULL else whole

    def _between(self, low: float, high: float) -> float:
        if self._uniform is None:
            from random import uniform

            self._uniform = uniform
        return self._uniform(low, high)

    def _left(self) -> float | None:
        whole = self._policy.overall_deadline
        return None if whole is None else self._begun + whole.total_seconds() - self._clock()


def retry_after(value: str) -> timedelta | None:
    """Return how long a ``Retry-After`` header asks to wait: seconds, or until a date."""
    try:
        return min(_OVERFLOW, max(timedelta(0), timedelta(seconds=float(value))))
    except OverflowError:
        return timedelta(0) if value.lstrip().startswith("-") else _OVERFLOW
    except ValueError:
        pass
    if not value.strip():
        return None
    from email.utils import parsedate_to_datetime

    try:
        when = parsedate_to_datetime(value)
    except (ValueError, TypeError):
        return None
    when = when if when.tzinfo else when.replace(tzinfo=timezone.utc)
    return max(timedelta(0), when - datetime.now(timezone.utc))


def _tell(event: RetryEvent, on_retry: Callable[[RetryEvent], None] | None) -> None:
    import logging

    log = logging.getLogger("opensandbox_jupyter")
    log.warning(
        "%s %s again in %.2f s (attempt %d): %s",
        event.method,
        event.url,
        event.backoff.total_seconds(),
        event.attempt,
        event.cause.value,
    )
    if on_retry is not None:
        try:
            on_retry(event)
        except Exception:
            log.exception("RetryPolicy.on_retry raised an exception")
