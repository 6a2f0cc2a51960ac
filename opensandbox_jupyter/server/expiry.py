"""Sandboxes end when their time is over, whatever the clock on the wall does meanwhile."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from opensandbox_jupyter.server.clock import steady, wall
from opensandbox_jupyter.server.entries import Entry
from opensandbox_jupyter.server.errands import Errands
from opensandbox_jupyter.server.errors import Refusal

__all__ = ["Expiry"]

_LOG = logging.getLogger(__name__)
_LOOK_AGAIN = 30.0
"""Seconds after which a timer looks at the clock again, so that it survives a suspend."""


class Expiry:
    """The timers. ``end`` removes a sandbox; ``is_there`` says whether there is still one."""

    def __init__(
        self,
        end: Callable[[Entry], Awaitable[None]],
        is_there: Callable[[Entry], bool],
        errands: Errands,
    ) -> None:
        self._end = end
        self._is_there = is_there
        self._errands = errands

    def watch(self, entry: Entry) -> None:
        """End ``entry`` when its record says so, and no sooner or later if that was changed."""
        self.forget(entry)
        if entry.record.expires is not None:
            entry.deadline = steady() + entry.record.expires - wall()
            self._look(entry)

    def renew(self, entry: Entry, expires: float) -> None:
        """Let ``entry`` end at ``expires``, seconds since 1970. Raises: Refusal."""
        code = "DOCKER::INVALID_EXPIRATION"
        if entry.record.expires is None:
            raise Refusal(409, code, "This sandbox never expires: delete it instead.")
        if expires <= wall():
            raise Refusal(400, code, "The new expiry must lie in the future.")
        entry.record.expires = expires
        self.watch(entry)

    @staticmethod
    def forget(entry: Entry) -> None:
        """Let it live on."""
        if entry.timer is not None:
            entry.timer.cancel()

    def _look(self, entry: Entry) -> None:
        assert entry.deadline is not None
        left = entry.deadline - steady()
        if left > 0:
            self._look_later(entry, left)
        else:
            self._errands.send(self._expire(entry))

    def _look_later(self, entry: Entry, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        entry.timer = loop.call_later(min(seconds, _LOOK_AGAIN), self._look, entry)

    async def _expire(self, entry: Entry) -> None:
        async with entry.lock:
            is_due = entry.deadline is not None and entry.deadline <= steady()
            if not is_due or not self._is_there(entry):
                return
            try:
                await asyncio.shield(asyncio.ensure_future(self._end(entry)))
                _LOG.info("%s expired", entry.record.id)
            except OSError as error:
                _LOG.warning("could not remove %s: %s", entry.record.id, error)
                self._look_later(entry, _LOOK_AGAIN)
