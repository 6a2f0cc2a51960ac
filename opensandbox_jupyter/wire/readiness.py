"""How a sandbox is awaited: first its endpoint, then its daemon. Sans-IO."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from opensandbox_jupyter.exceptions import (
    InvalidArgumentException,
    SandboxApiException,
    SandboxException,
    SandboxReadyTimeoutException,
)
from opensandbox_jupyter.models.durations import Duration, duration
from opensandbox_jupyter.wire.base import Operation, Origin, Probe, Sleep

if TYPE_CHECKING:
    from opensandbox_jupyter.models.sandboxes import SandboxEndpoint
    from opensandbox_jupyter.wire.protocol import Protocol

__all__ = ["Patience", "find_endpoint", "wait_ready"]

_FIRST_PAUSE = 0.002
_GROWTH = 1.1
_STILL_STARTING = "KUBERNETES::POD_IP_NOT_AVAILABLE"
_REFUSED = (401, 403)


class Patience:
    """A time budget with pauses that start short and grow to ``interval``.

    Args:
        budget: how long to wait in all.
        interval: the longest pause between two tries.
        clock: seconds, only ever forward.

    Raises:
        InvalidArgumentException: when one of them is no length of time.
    """

    def __init__(
        self,
        budget: Duration,
        interval: Duration,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.budget = duration(budget).total_seconds()
        self._interval = duration(interval, "polling interval").total_seconds()
        self._clock = clock
        self._end = clock() + self.budget
        self._pause = min(_FIRST_PAUSE, self._interval)

    def next_pause(self) -> Sleep | None:
        """Return the pause before the next try, or ``None`` when the budget is used up."""
        left = self._end - self._clock()
        if left <= 0:
            return None
        pause = Sleep(min(self._pause, left))
        self._pause = min(self._pause * _GROWTH, self._interval)
        return pause


def find_endpoint(
    protocol: Protocol,
    server: Origin,
    sandbox_id: str,
    port: int,
    *,
    use_server_proxy: bool,
    patience: Patience | None = None,
) -> Operation[SandboxEndpoint]:
    """Look an endpoint up, again and again only while its machine is still being started."""
    while True:
        try:
            return (
                yield from protocol.endpoint(
                    server, sandbox_id, port, use_server_proxy=use_server_proxy
                )
            )
        except SandboxApiException as error:
            if patience is None or error.error.code != _STILL_STARTING:
                raise
            pause = patience.next_pause()
            if pause is None:
                raise _not_ready(sandbox_id, patience, error) from error
        yield pause


def wait_ready(
    protocol: Protocol, sandbox: Origin, sandbox_id: str, *, custom: bool, patience: Patience
) -> Operation[None]:
    """Ask until the daemon answers, or the caller's own check says yes."""
    while True:
        last: SandboxException | None = None
        try:
            if not custom:
                yield from protocol.ping(sandbox)
                return
            if (yield Probe()):
                return
        except SandboxException as error:
            if _is_final(error, custom=custom):
                raise
            last = error
        pause = patience.next_pause()
        if pause is None:
            raise _not_ready(sandbox_id, patience, last) from last
        yield pause


def _is_final(error: SandboxException, *, custom: bool) -> bool:
    """Return whether time will not mend it: the key was refused, or the address is none."""
    if isinstance(error, SandboxApiException):
        return error.status_code in _REFUSED
    return isinstance(error, InvalidArgumentException) and not custom


def _not_ready(
    sandbox_id: str, patience: Patience, last: SandboxException | None
) -> SandboxReadyTimeoutException:
    seconds = f"{patience.budget:g}"
    because = f" The last answer: {Exception.__str__(last)}" if last else ""
    return SandboxReadyTimeoutException(
        f"Sandbox {sandbox_id} was not ready after {seconds} s.{because}",
        cause=last,
        hint="A longer ready_timeout may help; so may a look at the server's log.",
    )
