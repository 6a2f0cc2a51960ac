"""What pools decide, without any I/O: what to refuse, when to try again, make more, slow down."""

from __future__ import annotations

from dataclasses import dataclass, field

from opensandbox_jupyter.exceptions import (
    InvalidArgumentException,
    PoolAcquireFailedException,
    PoolDestroyedException,
    PoolEmptyException,
    SandboxException,
)
from opensandbox_jupyter.pools.types import AcquirePolicy, PoolDestroyState

__all__ = [
    "Allowance",
    "Health",
    "Search",
    "checked_max_idle",
    "effective_max_idle_attempts",
    "policy_falls_through_to_direct_create",
    "replenishment",
    "shut",
]

_RETRYING = {AcquirePolicy.RETRY_NEXT_IDLE, AcquirePolicy.RETRY_NEXT_IDLE_THEN_CREATE}
_CREATING = {AcquirePolicy.DIRECT_CREATE, AcquirePolicy.RETRY_NEXT_IDLE_THEN_CREATE}
_FIRST_BACKOFF, _LONGEST_BACKOFF = 1.0, 30.0


def effective_max_idle_attempts(policy: AcquirePolicy, max_acquire_retries: int) -> int:
    """Return how many warm sandboxes an acquire tries at most."""
    return max(1, max_acquire_retries) if policy in _RETRYING else 1


def policy_falls_through_to_direct_create(policy: AcquirePolicy) -> bool:
    """Return whether an acquire makes a sandbox when no warm one can be had."""
    return policy in _CREATING


class Search:
    """One acquire's way through the warm sandboxes."""

    def __init__(self, policy: AcquirePolicy, max_acquire_retries: int) -> None:
        self.policy = policy
        self.creates = policy_falls_through_to_direct_create(policy)
        self.left = effective_max_idle_attempts(policy, max_acquire_retries)
        self._tried: list[str] = []
        self._last: BaseException | None = None

    def failed(self, sandbox_id: str, error: BaseException) -> None:
        """Note that a warm sandbox could not be used."""
        self.left -= 1
        self._tried.append(sandbox_id)
        self._last = error

    def verdict(self) -> SandboxException | None:
        """Return what to raise, now that no warm sandbox can be had; ``None``: make one."""
        if self.creates:
            return None
        hint = "AcquirePolicy.DIRECT_CREATE makes a sandbox when none is ready."
        if not self._tried:
            return PoolEmptyException("No warm sandbox is ready.", hint=hint)
        return PoolAcquireFailedException(
            f"None of {len(self._tried)} warm sandboxes could be used, {self._tried[-1]} the last.",
            cause=self._last,
            hint=hint,
        )


@dataclass
class Health:
    """How warm-ups go. After ``threshold`` failures in a row they are tried one at a time, and
    each new failure makes the pause before the next one longer.
    """

    threshold: int
    failures: int = 0
    last_error: str | None = None
    _pause: float = 0.0
    _until: float = 0.0

    def succeeded(self) -> None:
        """Note a warm-up that went well."""
        self.failures, self.last_error = 0, None
        self._pause = self._until = 0.0

    def failed(self, error: BaseException, now: float) -> None:
        """Note a warm-up that failed at ``now`` (seconds of a clock that only goes forward)."""
        self.failures += 1
        self.last_error = Exception.__str__(error) or type(error).__name__
        if self.is_degraded and now >= self._until:
            self._pause = min(self._pause * 2 or _FIRST_BACKOFF, _LONGEST_BACKOFF)
            self._until = now + self._pause

    @property
    def is_degraded(self) -> bool:
        """Whether too many failed in a row."""
        return self.failures >= self.threshold

    def is_waiting(self, now: float) -> bool:
        """Return whether the next warm-up has to wait."""
        return now < self._until


@dataclass
class Allowance:
    """So many warm-ups a second, and as many at once after a quiet second."""

    per_second: float
    _left: float = field(init=False)
    _at: float = 0.0

    def __post_init__(self) -> None:
        self._left = self.per_second

    def whole(self, now: float) -> int:
        """Return how many may begin now."""
        if now > self._at:
            self._left = min(self.per_second, self._left + (now - self._at) * self.per_second)
            self._at = now
        return int(self._left)

    def use(self, count: int) -> None:
        """Note that ``count`` have begun."""
        self._left -= count


def replenishment(wanted: int, idle: int, warming: int, allowed: int, health: Health) -> int:
    """Return how many warm-ups to begin; negative: how many warm sandboxes are too many.

    Args:
        wanted: how many warm sandboxes there shall be.
        idle: how many there are.
        warming: how many are on their way.
        allowed: how many may begin now.
        health: how warm-ups went.
    """
    if idle > wanted:
        return wanted - idle
    if health.is_degraded:
        allowed = min(allowed, 1 - warming)
    return max(0, min(wanted - idle - warming, allowed))


def checked_max_idle(value: int) -> int:
    """Return ``value``.

    Raises:
        InvalidArgumentException: when it is negative.
    """
    if not isinstance(value, int) or value < 0:
        raise InvalidArgumentException(f"max_idle must be 0 or more, not {value!r}.")
    return value


def shut(pool_name: str, state: PoolDestroyState) -> PoolDestroyedException:
    """Return what to raise for a name that may not be used."""
    return PoolDestroyedException(
        f"The pool {pool_name!r} is {state.value}.",
        hint="Use another name, or wait until its tombstone has expired.",
    )
